"""The files of a source that is read once: local ones where they lie, remote ones fetched and thrown away after."""

from collections.abc import Iterator
from pathlib import Path

from gristmill.crawl.text_sources_config import LocalSource
from gristmill.crawl.warc_files import find_warc_files
from gristmill.progress import progress


def fetched_files(source: LocalSource, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each file's name and where it can be read until the next is asked for, in the order of their names.

    folder: a place on the disk that has room for the largest remote file; a fetch that was killed goes on there.
    Raises ValueError for a path without a file, SourceUnavailable for a remote one that cannot be fetched whole.
    """
    files = find_warc_files(source.paths, source=source.name, example=source.example)
    if not any(file.is_remote for file in files):
        yield from ((file.name, Path(file.location)) for file in files)
        return
    from gristmill.crawl.fetch import Fetcher

    place = folder / ".fetched"
    place.mkdir(parents=True, exist_ok=True)
    with (
        progress(f"fetch {source.name}", total=None, unit="MB") as bar,
        Fetcher(arrived=lambda size: bar.advance(size / 1e6)) as fetcher,
    ):
        for number, file in enumerate(files):
            if not file.is_remote:
                yield file.name, Path(file.location)
                continue
            path = place / f"{number}-{Path(file.name).name}"
            if not path.exists():
                fetcher.download(file.location, path)
            yield file.name, path
            path.unlink()
    place.rmdir()
