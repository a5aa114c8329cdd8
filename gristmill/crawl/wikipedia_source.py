"""The source `wikipedia`: a dump in MediaWiki's XML becomes one text a page (mediawiki.org/xml/export-0.11).

The dump is streamed through expat. A document type declaration is refused, so no entity can expand or be fetched;
dumps have none. Of a page with several revisions the last one counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.parsers import expat

from gristmill.crawl.compressed import BrokenFile, pieces
from gristmill.crawl.conversions import Losses, SourceText, local_url, usable_date, usable_url, write_conversions
from gristmill.crawl.fetched import fetched_files
from gristmill.crawl.text_sources_config import WikipediaSource
from gristmill.crawl.wikitext import plain_text
from gristmill.report import Report

_FILES, _CATEGORIES = "6", "14"
_KEPT_IN_TITLES = "/:@!$()*,;~'"
_TEXT_MODELS = ("wikitext", "")
_REDIRECT = re.compile(r"\s*#\s*[^\s\[:]{4,20}\s*:?\s*\[\[", re.IGNORECASE)


def write_warcs(source: WikipediaSource, folder: Path) -> Report:
    """Write the pages of all dumps as WARC files. Raises ValueError for a dump without a page that can be used, and for
    one that declares a document type."""
    losses = Losses()
    return write_conversions(_texts(source, folder, losses), folder, losses, shard_bytes=source.shard_bytes)


def _texts(source: WikipediaSource, folder: Path, losses: Losses) -> Iterator[SourceText]:
    for name, path in fetched_files(source, folder):
        before, found = losses.dropped.copy(), False
        for page in _pages(source, path, losses):
            if isinstance(page, _Page):
                found = True
                url = page.site.url_of(page.title) or local_url(source.name, name, page.title)
                yield SourceText(url, _text(source, page), usable_date(page.timestamp))
        if not found:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted((losses.dropped - before).items()))
            raise ValueError(
                f"{name} of source {source.name!r} has no page that can be used ({reasons or 'no <page> at all'}); "
                "expected a dump of pages with their text, such as …-pages-articles.xml.bz2"
            )


def _text(source: WikipediaSource, page: "_Page") -> str:
    body = plain_text(page.text, hidden_prefixes=page.site.hidden_prefixes, keep_tables=source.tables == "keep")
    return f"{page.title}\n\n{body}" if body else ""


@dataclass
class _Site:
    """What the dump says of its wiki. base: address of its main page."""

    base: str = ""
    namespaces: dict[str, str] = field(default_factory=dict)

    @property
    def hidden_prefixes(self) -> set[str]:
        return {name.lower() for key, name in self.namespaces.items() if key in (_FILES, _CATEGORIES) and name}

    def url_of(self, title: str) -> str | None:
        if "://" not in self.base:
            return None
        folder = self.base.rpartition("/")[0]
        return usable_url(f"{folder}/{quote(title.replace(' ', '_'), safe=_KEPT_IN_TITLES)}")


@dataclass
class _Page:
    site: _Site
    title: str = ""
    namespace: str = ""
    timestamp: str = ""
    model: str = ""
    text: str = ""
    text_bytes: int = 0
    is_redirect: bool = False


def _pages(source: WikipediaSource, path: Path, losses: Losses) -> Iterator[_Page]:
    dump = _Dump(max_text_bytes=int(source.max_page_mb * 1_000_000))
    try:
        for piece in pieces(path):
            for page in dump.feed(piece):
                reason = _reason(source, page, dump)
                if reason:
                    losses.drop(reason, f"{path.name}: {page.title}")
                else:
                    yield page
        dump.end()
    except (BrokenFile, expat.ExpatError) as error:
        losses.drop("broken_file", f"{path.name}: {error} (after page {dump.title!r})")
    except _DocumentType as error:
        raise ValueError(
            f"{path.name} of source {source.name!r} declares a document type ({error}); dumps of MediaWiki do not, and "
            "such a declaration can name other files: fetch the dump again"
        ) from error


def _reason(source: WikipediaSource, page: _Page, dump: "_Dump") -> str | None:
    """Why a page is left out; None when it is not."""
    if not page.namespace.lstrip("-").isdecimal() or int(page.namespace) not in source.namespaces:
        return "namespace"
    if page.is_redirect or _REDIRECT.match(page.text):
        return "redirect"
    if page.model not in _TEXT_MODELS:
        return f"model:{page.model[:40]}"
    if page.text_bytes > dump.max_text_bytes:
        return "too_large"
    return None if page.text.strip() and page.title else "empty"


class _DocumentType(Exception):
    """The dump declares a document type."""


class _Dump:
    """Pages out of pieces of XML. title: of the page last begun, for messages."""

    def __init__(self, *, max_text_bytes: int) -> None:
        self.max_text_bytes = max_text_bytes
        self.title = ""
        self._site = _Site()
        self._page: _Page | None = None
        self._ready: list[_Page] = []
        self._path: list[str] = []
        self._value: list[str] = []
        self._size = 0
        self._key = ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, piece: bytes) -> list[_Page]:
        """The pages that end in this piece. Raises ExpatError and _DocumentType."""
        self._ready = []
        self._parser.Parse(piece, False)
        return self._ready

    def end(self) -> None:
        """Raises ExpatError when the document is not closed."""
        self._parser.Parse(b"", True)

    def _refuse(self, name: str, *_: object) -> None:
        raise _DocumentType(f"<!DOCTYPE {name}>")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._value, self._size = [], 0
        if name == "page":
            self._page = _Page(self._site)
        elif name == "redirect" and self._page:
            self._page.is_redirect = True
        elif name == "namespace":
            self._key = attributes.get("key", "")

    def _characters(self, text: str) -> None:
        self._size += len(text.encode())
        if self._size <= self.max_text_bytes:
            self._value.append(text)

    def _end(self, name: str) -> None:
        value, self._value = "".join(self._value), []
        parent = self._path[-2] if len(self._path) > 1 else ""
        self._path.pop()
        page = self._page
        if name == "page" and page:
            self._ready.append(page)
            self._page = None
        elif page and parent == "page" and name in ("title", "ns"):
            setattr(page, {"title": "title", "ns": "namespace"}[name], " ".join(value.split()))
            self.title = page.title
        elif page and parent == "revision" and name in ("timestamp", "model"):
            setattr(page, name, value.strip())
        elif page and parent == "revision" and name == "text":
            page.text, page.text_bytes = value, self._size
        elif parent == "siteinfo" and name == "base":
            self._site.base = value.strip()
        elif parent == "namespaces" and name == "namespace":
            self._site.namespaces[self._key] = value.strip()
