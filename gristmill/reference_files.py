"""Files that a configuration names by path or URL: models, word lists, lists of domains. None of them is committed.

A URL is fetched into the cache once and again when the server says that it changed. What counts for a key is the
content, never the place.
"""

from pathlib import Path

from gristmill.errors import NotHere, SourceUnavailable
from gristmill.fingerprint import cache_folder, file_sha256


def reference_file(place: str, *, setting: str, remedy: str = "correct the path or URL") -> Path:
    """The file at a path or URL, as a local file.

    setting: where the configuration names it (`signals.bad_words.de`); remedy: what to do when it is not there.
    Raises SourceUnavailable where no file can be read: NotHere, which is one, for a path.
    """
    if "://" in place:
        return _fetched(place, setting)
    path = Path(place).expanduser()
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise NotHere(f"{setting}: cannot read {place} ({error.strerror}); {remedy}") from error


def reference_digest(place: str, *, setting: str, remedy: str = "correct the path or URL") -> str:
    """sha256 of the file's content: what stands for it in an artifact's key. Raises like `reference_file`."""
    return file_sha256(reference_file(place, setting=setting, remedy=remedy))


def _fetched(url: str, setting: str) -> Path:
    from gristmill.guarded_http import local_copy

    try:
        return Path(local_copy(url, str(cache_folder() / "references")))
    except Exception as error:  # each file system has its own exceptions
        raise SourceUnavailable(f"{setting}: {url} does not answer ({error}); correct it or try again later") from error
