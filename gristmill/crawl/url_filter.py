"""Pages refused for their URL alone, before anything is parsed: lists of domains and URLs, and words of the URL.

The rules are those of FineWeb's first step (Penedo et al. 2024, arXiv:2406.17557, after RefinedWeb, arXiv:2306.01116).
Two differences, both meant: a listed domain stands for all its subdomains, and capitals and percent signs hide no word.
Lists are text files with one entry a line (the format of the UT1 blacklists), named by path or URL, never committed.
"""

import gzip
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import PositiveInt

from gristmill.reference_files import reference_digest, reference_file
from gristmill.schema import Schema

_NOT_A_WORD = re.compile(r"[\W_]+")
LISTS = ("domains", "urls", "banned_words", "soft_banned_words", "banned_subwords")


class UrlFilterConfig(Schema):
    """Lists by path or URL, .gz too: an entry a line, lines that begin with # left out. No list, no rule."""

    domains: list[str] = []
    """Domains whose pages are refused, those of their subdomains too."""
    urls: list[str] = []
    """Pages that are refused, with or without scheme and `www.`."""
    banned_words: list[str] = []
    """One of these as a whole word of the URL refuses the page."""
    soft_banned_words: list[str] = []
    """`min_soft_words` different ones of these as whole words of the URL refuse the page."""
    min_soft_words: PositiveInt = 2
    """Different soft words that refuse a page."""
    banned_subwords: list[str] = []
    """One of these anywhere in the URL, signs left out, refuses the page."""

    def identity(self) -> dict[str, Any]:
        """Lists by the digest of their content. Raises SourceUnavailable when one cannot be read."""
        digests = {
            name: [reference_digest(place, setting=_setting(name)) for place in self._places(name)] for name in LISTS
        }
        return digests | {"min_soft_words": self.min_soft_words}

    def files(self, name: str) -> list[Path]:
        """The local files of one of LISTS."""
        return [reference_file(place, setting=_setting(name)) for place in self._places(name)]

    def _places(self, name: str) -> list[str]:
        return getattr(self, name)


class UrlFilter:
    """The lists in memory: 8 bytes an entry of `domains` and `urls`, since lists of domains have millions.

    Make one a process: a million domains take three seconds to read. `refuse` takes some 25 µs.
    """

    def __init__(self, config: UrlFilterConfig) -> None:
        self._domains = _digests(_domain(line) for line in _lines(config.files("domains")))
        self._urls = _digests(_page(line) for line in _lines(config.files("urls")))
        self._words = {_joined(line) for line in _lines(config.files("banned_words"))} - {""}
        self._soft_words = {_joined(line) for line in _lines(config.files("soft_banned_words"))} - {""}
        self._min_soft_words = config.min_soft_words
        subwords = {_joined(line) for line in _lines(config.files("banned_subwords"))} - {""}
        self._subwords = re.compile("|".join(map(re.escape, sorted(subwords)))) if subwords else None

    def refuse(self, url: str) -> tuple[str, str] | None:
        """(rule, what was found) for a page that is refused; None for one that is not. Any string is an answer."""
        if len(self._domains):
            domain = next((name for name in _parents(_host(url)) if _holds(self._domains, name)), None)
            if domain is not None:
                return "url_domain", domain
        if len(self._urls) and _holds(self._urls, _page(url)):
            return "url_listed", _page(url)
        if not (self._words or self._soft_words or self._subwords):
            return None
        folded = unquote(url).casefold()
        words = set(_NOT_A_WORD.split(folded))
        banned = sorted(words & self._words)
        if banned:
            return "url_word", banned[0]
        soft = sorted(words & self._soft_words)
        if len(soft) >= self._min_soft_words:
            return "url_soft_words", " ".join(soft)
        found = self._subwords.search(_joined(folded)) if self._subwords else None
        return ("url_subword", found[0]) if found else None


def _setting(name: str) -> str:
    return f"extract.url_filter.{name}"


def _lines(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        try:
            with gzip.open(path, "rt", encoding="utf-8") if _is_gzip(path) else path.open(encoding="utf-8") as file:
                yield from (line.strip() for line in file if line.strip() and not line.startswith("#"))
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is no list of lines in UTF-8 ({error}); fetch it again") from error


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _joined(text: str) -> str:
    return _NOT_A_WORD.sub("", text.casefold())


def _host(url: str) -> str:
    try:
        host = urlsplit(url if "://" in url else f"http://{url}").hostname or ""
    except ValueError:
        host = ""
    return _domain(host)


def _domain(name: str) -> str:
    """As it is compared: small letters, Unicode names in their ASCII spelling."""
    name = name.strip().strip(".").casefold()
    if not name.isascii():
        try:
            return name.encode("idna").decode()
        except UnicodeError:
            return name
    return name


def _parents(host: str) -> Iterator[str]:
    """The host and the domains above it, the top-level one left out."""
    labels = host.split(".")
    yield from (".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))


def _page(url: str) -> str:
    """A URL without scheme, `www.` and the slash at its end."""
    page = url.partition("://")[2] if "://" in url else url
    host, slash, rest = page.partition("/")
    return (host.casefold().removeprefix("www.") + slash + rest).rstrip("/")


def _digests(entries: Iterable[str]) -> Any:
    """Sorted 64-bit digests; 4.6 million entries share one with a name that is not listed once in 4e12 questions."""
    import numpy as np

    return np.unique(np.fromiter((_digest(entry) for entry in entries if entry), dtype=np.uint64))


def _digest(entry: str) -> int:
    return int.from_bytes(blake2b(entry.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _holds(digests: Any, entry: str) -> bool:
    import numpy as np

    digest = np.uint64(_digest(entry))
    place = int(digests.searchsorted(digest))
    return place < len(digests) and digests[place] == digest
