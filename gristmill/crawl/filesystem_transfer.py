"""Fetching from whatever else fsspec reaches (`s3://`, `gs://`, …), in pieces, so that a broken one is asked for again.

The file system's own library checks lengths within a request; here the whole is compared with the size it states.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gristmill.crawl.partial_file import PartialFile
from gristmill.crawl.transfer import Query, Refused, RemoteFacts, TryAgain
from gristmill.guarded_http import filesystem_of

PIECE_BYTES = 1 << 24


class FilesystemTransfer:
    def __init__(self, *, stopped: Callable[[], bool], arrived: Callable[[int], None]) -> None:
        self._stopped, self._arrived = stopped, arrived

    def facts(self, url: str) -> RemoteFacts:
        with _faults(url):
            filesystem, path = filesystem_of(url)
            facts = filesystem.info(path)
            stated = next((facts[key] for key in ("ETag", "etag", "md5Hash", "content_md5") if facts.get(key)), None)
            # without an etag: fsspec's digest of all that is said of the file, such as its time of change
            return RemoteFacts(facts.get("size"), str(stated or filesystem.ukey(path)).strip('"'))

    def get(self, url: str, *, params: Query, max_bytes: int) -> bytes:
        if params:
            raise Refused(f"{url} cannot be asked: a query needs http:// or https://", status=400)
        with _faults(url):
            filesystem, path = filesystem_of(url)
            content = filesystem.cat_file(path, start=0, end=max_bytes + 1)
        if len(content) > max_bytes:
            raise Refused(f"{url} is longer than {max_bytes:,} bytes, which no listing is", status=200)
        return content

    def get_range(self, url: str, start: int, size: int) -> bytes:
        with _faults(url):
            filesystem, path = filesystem_of(url)
            content = filesystem.cat_file(path, start=start, end=start + size)
        if len(content) != size:
            raise TryAgain(f"{len(content):,} of {size:,} bytes arrived")
        return content

    def go_on(self, partial: PartialFile, *, first_bytes: int | None) -> None:
        url = partial.notes["url"]
        facts = self.facts(url)
        if partial.size and facts.version != partial.version:
            partial.restart()
        partial.note(total=facts.size, version=facts.version)
        if facts.size is None:
            raise Refused(f"{url} has no length that its file system knows; bring the file here yourself", status=411)
        wanted = min(facts.size, first_bytes or facts.size)
        partial.part.parent.mkdir(parents=True, exist_ok=True)
        before = partial.size
        while partial.size < wanted:
            if self._stopped():
                raise TryAgain("stopped", most=1)
            start = partial.size
            try:
                piece = self.get_range(url, start, min(PIECE_BYTES, wanted - start))
            except TryAgain as fault:
                raise TryAgain(str(fault), progressed=start > before) from fault
            with partial.part.open("ab") as file:
                file.write(piece)
            self._arrived(len(piece))
        if partial.size > wanted:
            partial.restart()
            raise TryAgain(f"there are more than the {wanted:,} bytes that were asked for")


@contextmanager
def _faults(url: str) -> Iterator[None]:
    """Each file system has exceptions of its own, from aiohttp's to botocore's; all that may pass become TryAgain."""
    try:
        yield
    except FileNotFoundError as error:
        raise Refused(f"{url} is not there", status=404) from error
    except PermissionError as error:
        raise Refused(f"{url} may not be read ({error}); are there credentials for it?", status=401) from error
    except (ImportError, ValueError, NotImplementedError) as error:
        hint = "; install what it needs with `pip install 'gristmill[s3]'`" if url.startswith("s3:") else ""
        raise Refused(f"{url} cannot be opened: {error}{hint}", status=400) from error
    except Exception as error:
        if type(error).__name__ == "NoCredentialsError":
            raise Refused(f"{url}: no credentials were found for it ({error})", status=401) from error
        raise TryAgain(f"{type(error).__name__}: {error}", answered=False) from error
