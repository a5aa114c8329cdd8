"""What a page itself says of its use: directives for robots, and the reservation of text and data mining.

Read are HTTP headers and `<meta>` elements. Three conventions, none of which a search engine's index is needed for:
- `noai`, `noimageai`, `noindex` and `none` in `X-Robots-Tag` and `<meta name="robots">`; the header may name a robot
  before its directives, an element by its name (Google's description of both; `noai` comes from DeviantArt, `noml`
  for the same from Mojeek).
- `tdm-reservation: 1` as header or `<meta>` (TDM Reservation Protocol, W3C Community Group, 2024).
Left out: `robots.txt` and `/.well-known/tdmrep.json`, which a crawler reads and an archive of pages does not hold.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import field_validator

from gristmill.schema import Schema

HEAD_CHARS = 1_000_000
"""Of the markup, how much is looked at: a head may have long styles and scripts before its last element."""

_WORTH_A_LOOK = re.compile(r"noai|noimageai|noindex|noml|none|tdm-reservation|&#", re.IGNORECASE)
# bounded: a quote that is never closed must not make every `<meta` look at all that follows; not IGNORECASE, since a
# pattern that begins with one fixed sign is found ten times as fast
_META = re.compile(r"<[mM][eE][tT][aA](?=[\s/])((?:[^<>\"']|\"[^\"]{0,2000}\"|'[^']{0,2000}'){0,500})>")
_ATTRIBUTE = re.compile(
    r"(name|property|http-equiv|content)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE
)
# directives with a value: what precedes their colon is no robot's name
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


class ReservationConfig(Schema):
    """Which signals of a page leave it out."""

    noai: bool = True
    """`noai` and `noml`: not for training models."""
    noimageai: bool = False
    """`noimageai` is about the page's images, of which no model here learns."""
    noindex: bool = False
    """`noindex` and `none` are about search results; some sites mean more by it."""
    tdm_reservation: bool = True
    """`tdm-reservation: 1`: the rights to text and data mining are reserved, whatever `tdm-policy` offers."""
    robots: list[str] = ["ccbot", "gptbot"]
    """Names of robots whose directives count beside those for all: whoever is told so means pipelines like this one.
    `ccbot` is Common Crawl's, which brings the pages; `gptbot` OpenAI's, the one that is most often named."""

    @field_validator("robots")
    @classmethod
    def _are_in_lower_case(cls, robots: list[str]) -> list[str]:
        return sorted({name.strip().lower() for name in robots})


def reserved(headers: Mapping[str, Sequence[str]], html_head: str, config: ReservationConfig) -> tuple[str, str] | None:
    """(rule, what was found) for a page that asks to be left out; None for any other.

    headers: values by lower-cased name, at least `x-robots-tag` and `tdm-reservation`. html_head: markup, of which
    HEAD_CHARS are looked at. Where headers and elements contradict each other, the strictest counts.
    """
    metas = list(_metas(html_head[:HEAD_CHARS]))
    for rule, directives in _rules(config):
        for place, directive in _directives(headers, metas, config):
            if directive in directives:
                return f"opt_out:{rule}", f"{place}: {directive}"
    return _tdm_reservation(headers, metas) if config.tdm_reservation else None


def _rules(config: ReservationConfig) -> Iterator[tuple[str, frozenset[str]]]:
    if config.noai:
        yield "noai", frozenset({"noai", "noml"})
    if config.noimageai:
        yield "noimageai", frozenset({"noimageai"})
    if config.noindex:
        yield "noindex", frozenset({"noindex", "none"})


def _directives(
    headers: Mapping[str, Sequence[str]], metas: Sequence[tuple[str, str]], config: ReservationConfig
) -> Iterator[tuple[str, str]]:
    """(where it stands, directive), for all robots or for one of the configured ones."""
    for value in headers.get("x-robots-tag", ()):
        robot = ""
        for part in value.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and name.strip() not in _WITH_VALUE:
                robot, part = name.strip(), rest
            if robot in ("", "robots", *config.robots):
                yield f"X-Robots-Tag {robot}".strip(), part.strip()
    for name, content in metas:
        if name in ("robots", *config.robots):
            yield from ((f"meta {name}", directive) for directive in re.split(r"[,;\s]+", content.lower()))


def _tdm_reservation(headers: Mapping[str, Sequence[str]], metas: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    found = [("tdm-reservation", value.strip()) for value in headers.get("tdm-reservation", ())]
    found += [("meta tdm-reservation", content.strip()) for name, content in metas if name == "tdm-reservation"]
    # values other than 0 and 1 are errors, which the protocol takes for unset
    place = next((place for place, value in found if value == "1"), None)
    return None if place is None else ("opt_out:tdm_reservation", f"{place}: 1")


def _metas(markup: str) -> Iterator[tuple[str, str]]:
    """(name in lower case, content) of each `<meta>`."""
    if not any(map(_is_worth_a_look, _META.finditer(markup))):
        return  # comments are stepped over only where they may hide something
    for element in filter(_is_worth_a_look, _META.finditer(_without_comments(markup))):
        values: dict[str, str] = {}
        for name, *quoted in _ATTRIBUTE.findall(element[1]):
            values.setdefault(name.lower(), html.unescape("".join(quoted)).rstrip("/"))
        called = values.get("name") or values.get("property") or values.get("http-equiv")
        if called and "content" in values:
            yield called.strip().lower(), values["content"]


def _is_worth_a_look(element: re.Match[str]) -> bool:
    return _WORTH_A_LOOK.search(element[1]) is not None


def _without_comments(markup: str) -> str:
    """By `find`, since a pattern would look for the end of each comment that has none."""
    parts, start = [], 0
    while (opened := markup.find("<!--", start)) >= 0:
        closed = markup.find("-->", opened + 4)
        if closed < 0:
            break
        parts.append(markup[start:opened])
        start = closed + 3
    return "".join([*parts, markup[start:]])
