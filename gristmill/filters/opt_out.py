"""Opt-out lists: pages left out because somebody asked for it, by domain, by URL or by the hash of their text.

A list is plain text, one entry a line, so that a person can read it and `gristmill forget` can append to it:

    domain:example.org                  # 2026-11-02, letter of the owner; subdomains are meant too
    url:https://example.org/private     # one page, however its URL is spelled
    url:https://example.org/~anna/*     # every page whose URL begins so; `*` stands for anything after the host
    hash:0123456789abcdef               # `text_hash` of documents and verdicts: every copy of a text

Entries are a set: their order, repetitions and comments (from `#` after a space, or at the beginning of a line) count
for nothing, not even for an artifact's key. What pages themselves say is in gristmill.text.reservations.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import idna

from gristmill.crawl.urls import canonical_url
from gristmill.reference_files import reference_file
from gristmill.schema import Schema

_ENTRY = re.compile(r"(domain|url|hash):\s*(\S.*)")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_HASH = re.compile(r"[0-9a-f]{16}")
_GLOB_SIGNS = re.compile(r"([?\[])")

Refusal = tuple[str, str, str]


class OptOutConfig(Schema):
    """Lists of those who asked to be left out."""

    lists: list[str] = []
    """Lists by path or URL, with lines such as `domain:example.org`, `url:https://example.org/page` and
    `hash:0123456789abcdef`. `gristmill forget` appends to the first. Pages on them are dropped."""

    def places(self) -> list[str]:
        """The lists as they are found from any folder: paths absolute, URLs as they are."""
        return [place if "://" in place else str(Path(place).expanduser().absolute()) for place in self.lists]

    def fetched(self, *, setting: str) -> Self:
        """The same with local files: for workers, so that none asks a server again. Raises SourceUnavailable."""
        return self.model_copy(update={"lists": [str(_file(place, setting)) for place in self.lists]})

    def identity(self, *, setting: str) -> dict[str, Any]:
        """The entries, whatever their order and comments. Raises SourceUnavailable when a list cannot be read."""
        opt_out = OptOut.read(self, setting=setting)
        return {"entries": opt_out.digest()} if opt_out else {}


@dataclass(frozen=True)
class OptOut:
    """All entries of all lists, as they are compared. patterns: host → URLs with `*`."""

    domains: frozenset[str]
    urls: frozenset[str]
    patterns: Mapping[str, tuple[str, ...]]
    hashes: frozenset[str]

    @classmethod
    def read(cls, config: OptOutConfig, *, setting: str) -> Self:
        """setting: where the configuration names the lists (`filter.opt_out`).

        Raises SourceUnavailable for a list that cannot be read, ValueError for a line that is no entry.
        """
        files = [(place, _file(place, setting)) for place in config.lists]
        return cls._read(tuple((place, path, path.stat().st_mtime_ns, path.stat().st_size) for place, path in files))

    @classmethod
    @lru_cache(maxsize=4)  # each shard asks, and a list of a million entries takes 13 s to parse
    def _read(cls, files: tuple[tuple[str, Path, int, int], ...]) -> Self:
        lines: list[tuple[str, str]] = []
        for place, path, _, _ in files:
            try:
                text = path.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{place} is no text in UTF-8 ({error}); an opt-out list has an entry a line"
                ) from error
            lines += [(f"{place}:{number}", line) for number, line in enumerate(text.splitlines(), start=1)]
        return cls.parse(lines)

    @classmethod
    def parse(cls, lines: Iterable[tuple[str, str]]) -> Self:
        """From (place, line) of each line; errors name the place. Raises ValueError for a line that is no entry."""
        domains, urls, hashes = set(), set(), set()
        patterns: dict[str, set[str]] = {}
        for place, line in lines:
            entry = _COMMENT.sub("", line).strip()
            if not entry:
                continue
            kind, value = _entry(entry, place)
            if kind == "domain":
                domains.add(value)
            elif kind == "hash":
                hashes.add(value)
            elif "*" in value:
                patterns.setdefault(_host_of(value), set()).add(value)
            else:
                urls.add(value)
        ordered = {host: tuple(sorted(found)) for host, found in patterns.items()}
        return cls(frozenset(domains), frozenset(urls), ordered, frozenset(hashes))

    def __bool__(self) -> bool:
        return bool(self.domains or self.urls or self.patterns or self.hashes)

    def refuse(self, document: Mapping[str, Any]) -> Refusal | None:
        """(rule, what was found, the entry) for a document, by `url` and `text_hash`; None for one that may stay."""
        if self.hashes and document.get("text_hash") in self.hashes:
            return "opt_out:hash", document["text_hash"], f"hash:{document['text_hash']}"
        if not (self.domains or self.urls or self.patterns):
            return None
        page = page_key(document["url"] or "")
        host = _host_of(page)
        domain = next((name for name in _and_parents(host) if name in self.domains), None)
        if domain is not None:
            return "opt_out:domain", host, f"domain:{domain}"
        if page in self.urls:
            return "opt_out:url", page, f"url:{page}"
        pattern = next((found for found in self.patterns.get(host, ()) if _fits(page, found)), None)
        return None if pattern is None else ("opt_out:url", page, f"url:{pattern}")

    def includes(self, other: "OptOut") -> bool:
        """Whether every entry of the other is one of these."""
        return (
            other.domains <= self.domains
            and other.urls <= self.urls
            and other.hashes <= self.hashes
            and all(set(found) <= set(self.patterns.get(host, ())) for host, found in other.patterns.items())
        )

    def digest(self) -> str:
        """sha256 of the set of entries."""
        values = sorted(value for found in self.patterns.values() for value in found)
        parts = [sorted(self.domains), sorted(self.urls), values, sorted(self.hashes)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def _file(place: str, setting: str) -> Path:
    remedy = "correct the path or URL, or make an empty file: no list is taken for an empty one"
    return reference_file(place, setting=f"{setting}.lists", remedy=remedy)


def page_key(url: str) -> str:
    """A URL as entries and pages are compared: its canonical spelling, percent signs resolved, Unicode host names in
    their ASCII spelling. What is no URL is compared as it is."""
    page = unquote(canonical_url(url if "://" in url else f"https://{url}"))
    host = _host_of(page)
    return ascii_domain(host) + page[len(host) :]


def ascii_domain(name: str) -> str:
    """A host name as it is compared: lower case, IDNA's ASCII spelling, without a dot at its end or `www.`."""
    name = name.strip().strip(".").lower()
    if not name.isascii():
        try:
            # not Python's own codec: by IDNA 2003, straße.de would be another owner's strasse.de
            name = idna.encode(name, uts46=True, transitional=False).decode()
        except UnicodeError:  # no name that a resolver would take; compared as it is written
            return name
    return name.removeprefix("www.")


def _entry(entry: str, place: str) -> tuple[str, str]:
    found = _ENTRY.fullmatch(entry)
    if not found:
        raise ValueError(
            f"{place}: {entry!r} is no entry of an opt-out list; expected domain:example.org, "
            "url:https://example.org/page or hash:0123456789abcdef"
        )
    kind, value = found[1], found[2].strip()
    if kind == "domain":
        domain = ascii_domain(value.removeprefix("*."))
        if "." not in domain or re.search(r"[/:*\s@]", domain):
            raise ValueError(f"{place}: {value!r} is no domain such as example.org; a page is named by url:https://…")
        return kind, domain
    if kind == "hash":
        if not _HASH.fullmatch(value.lower()):
            raise ValueError(f"{place}: {value!r} is no text hash; expected 16 hex digits, as `text_hash` in verdicts")
        return kind, value.lower()
    page = _pattern(value) if "*" in value else page_key(value)
    host = _host_of(page)
    if "." not in host or "*" in host or re.search(r"\s", host):
        raise ValueError(
            f"{place}: {value!r} names no host; expected url:https://example.org/page, `*` only after the host "
            "(a whole domain is named by domain:example.org)"
        )
    return kind, page


def _pattern(url: str) -> str:
    """Up to its first `*` as pages are compared; what ends there must end so in the page too."""
    beginning, star, rest = url.partition("*")
    page, sign = page_key(beginning), beginning[-1:]
    return page + (sign if sign in "/?&=" and not page.endswith(sign) else "") + star + unquote(rest)


def _host_of(page: str) -> str:
    return re.split(r"[/?:*]", page, maxsplit=1)[0]


def _and_parents(host: str) -> Iterable[str]:
    labels = host.split(".")
    return (".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))


def _fits(page: str, pattern: str) -> bool:
    """`*` stands for any characters; `https://example.org/*` means the bare host too."""
    return fnmatchcase(page, _GLOB_SIGNS.sub(r"[\1]", pattern)) or (pattern.endswith("/*") and page == pattern[:-2])
