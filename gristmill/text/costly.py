"""Markup that would make a parser slow or lose text: noticed cheaply, and written anew so that it does neither.

Parsers need more than linear time and memory for deep nesting, for tags with very many attributes and for formatting
elements that nothing closes, which HTML opens again in every later block; libxml2 drops what stands below 256
elements. All decisions are counts, so they are the same everywhere. What this module does not foresee ends in the
process that parses (sandbox.py), as a verdict.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass

MAX_TAGS = 30_000
"""Start tags; with more, no parser is tried. Real pages: 99.9 % have fewer than 20,000."""
MAX_DEPTH = 200
"""Elements inside each other; parsers add a few of their own before they reach 256."""
MAX_ATTRIBUTES = 256
"""Of one tag; each is compared with all before it."""
MAX_NODES = 500_000
"""Elements that a parser makes; one costs 400 bytes and more than a microsecond."""
MAX_OPTIONS = 5_000
"""Each is compared with all before it, too."""
MAX_STEPS = 200_000_000
"""Open elements that are looked at for end tags that close none of them."""
MAX_TAGS_ON_TRUST = 1_500
"""So many make a million nodes at most, whatever is left unclosed."""
MAX_TAGS_UNNESTED = 9_000
"""So many elements, each in the one before, cost a parser less than a second."""


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


VOID = _names("area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr")
OUTERMOST = _names("html head body")
FORMATTING = _names("a b big code em font i nobr s small strike strong tt u")
# extractors look for text inside these, so a few levels are left for them
TEXT = _names("p li dd dt")
LEVELS_OF_TEXT = 8
HEADINGS = _names("h1 h2 h3 h4 h5 h6")
ROWS = _names("tbody thead tfoot caption colgroup tr td th")
# what an end tag does not reach through from inside (HTML, 13.2.4.2)
SCOPES = _names("applet caption marquee object table td template th foreignobject desc annotation-xml")
# an end tag of these closes what is open inside, if no scope is
BLOCKS = HEADINGS | _names(
    "address article aside blockquote button center details dialog dir div dl fieldset figcaption figure footer header "
    "hgroup listing main menu nav ol pre search section summary ul p li dd dt select"
)
# an end tag of other elements does not reach through these
SPECIAL = BLOCKS | ROWS | SCOPES | _names("form frameset noscript plaintext svg math mi mo mn ms mtext")

_IN_TABLE = _names("table template")
_ENDS_PARAGRAPH = (BLOCKS | {"form", "table"}) - _names("button select p") | {"p"}
_IN_PARAGRAPH = SCOPES | {"button"}
_ROW_OR_CELL = ROWS - _names("tbody thead tfoot")
_TERMS = _names("dd dt")
# start tag: (elements whose end it implies, what keeps it from that)
_IMPLIES = {
    "li": (_names("li"), SCOPES | _names("ul ol menu dir")),
    **dict.fromkeys(_TERMS, (_TERMS, SCOPES | {"dl"})),
    "option": (_names("option"), SPECIAL),
    "optgroup": (_names("option optgroup"), SPECIAL),
    **dict.fromkeys(("rp", "rt"), (_names("rp rt"), SPECIAL)),
    **dict.fromkeys(("td", "th"), (_ROW_OR_CELL - {"tr"}, _IN_TABLE)),
    "tr": (_ROW_OR_CELL, _IN_TABLE),
    **dict.fromkeys(("tbody", "thead", "tfoot", "caption", "colgroup"), (ROWS, _IN_TABLE)),
    "a": (_names("a"), SPECIAL),
}
# end tag: what it does not reach through
_BARRIERS = {
    **dict.fromkeys(BLOCKS, SCOPES),
    **dict.fromkeys(SCOPES, SCOPES),
    **dict.fromkeys(ROWS, _IN_TABLE),
    "table": _IN_TABLE,
    "p": _IN_PARAGRAPH,
    "li": SCOPES | _names("ul ol"),
}

_SPACE = r"[\t\n\f\r ]*+"
_BLANK = r"[\t\n\f\r /]*+"
_ATTRIBUTE = (
    r"(?:[a-z-]++=\"[^\"]*+\""  # nearly all
    rf"|[^\t\n\f\r />][^\t\n\f\r />=]*+(?:{_SPACE}=(?:{_SPACE}"
    r"(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^\t\n\f\r >\"'][^\t\n\f\r >]*+))?+)?+)"
)
_ATTRIBUTES = rf"{_BLANK}(?:{_ATTRIBUTE}{_BLANK})*+"
_FEW_ATTRIBUTES = rf"{_BLANK}(?:{_ATTRIBUTE}{_BLANK}){{0,{MAX_ATTRIBUTES}}}+"
_COMMENT = r"!--(?:-?>|(?:[^-]++|-(?!-!?>))*+(?:--!?>|\Z))|[!?/][^>]*+(?:>|\Z)"
_RAW = ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
_NAME_ENDS = r"(?=[\t\n\f\r />])"


def _until_end(name: str) -> str:
    return rf"(?:[^<]++|<(?!/(?i:{name}){_NAME_ENDS}))*+"


_UNTIL_SAME_END = _until_end(r"\1")

# HTML's tokenizer (13.2.5). What begins like a token is one, so that no character is looked at twice
_TOKEN = re.compile(
    rf"<(?:(?i:({'|'.join(_RAW)})){_NAME_ENDS}({_ATTRIBUTES})"
    rf"(?:>({_UNTIL_SAME_END})(?:</(?i:\1){_ATTRIBUTES}>?)?+|\Z)"
    rf"|(/?)([a-zA-Z][^\t\n\f\r />]*+)({_ATTRIBUTES})(>|\Z)"
    rf"|{_COMMENT})"
)
_ATTRIBUTE_TOKEN = re.compile(_ATTRIBUTE)
# the same for a whole page, up to a tag with too many attributes; groups in such loops are a bug of Python 3.11's
_RAW_ELEMENT = "|".join(rf"(?i:{name}){_NAME_ENDS}{_FEW_ATTRIBUTES}(?:>{_until_end(name)}|\Z)" for name in _RAW)
_MODEST = re.compile(
    r"[^<]*+(?:<(?:/[a-zA-Z0-9]++>"  # nearly all end tags
    rf"|(?=[sStTxXiInN])(?:{_RAW_ELEMENT})"
    rf"|/?[a-zA-Z][^\t\n\f\r />]*+{_FEW_ATTRIBUTES}(?:>|\Z)"
    rf"|{_COMMENT}"
    r"|(?![a-zA-Z!?/]))[^<]*+)*+"
)
_OPENING = re.compile("<[a-zA-Z]")
_REOPENED = f"(?i:{'|'.join(sorted(FORMATTING - {'a'}))})"
_FORMATTING_TOKEN = re.compile(f"<(?=[bcefinstuBCEFINSTU]){_REOPENED}{_NAME_ENDS}")
# no part matches `<`, so that none is looked at twice; a value must end, or `>` might stand in it
_CLOSED_AT_ONCE = re.compile(
    rf"<({_REOPENED}){_NAME_ENDS}{_BLANK}"
    rf"(?:[^\t\n\f\r /><][^\t\n\f\r />=<]*+"
    rf"(?:{_SPACE}={_SPACE}(?:\"[^\"<]*+\"|'[^'<]*+'|[^\t\n\f\r >\"'<][^\t\n\f\r ><]*+|(?=>))"
    rf"|(?!{_SPACE}=)){_BLANK})*+"
    rf">[^<]*+</(?i:\1){_SPACE}>"
)


def may_be_costly(html: str) -> bool:
    """Whether a page must be looked at closely. False for nearly every real page, in half a millisecond for 220 KB.

    A page with few tags is neither deep nor large enough to cost much, whatever its markup. Formatting elements are
    counted without `a`, of which HTML opens only one again.
    """
    begun = html.count("<")
    if begun > MAX_TAGS_UNNESTED:
        tags = len(_OPENING.findall(html))
        if tags > MAX_TAGS_UNNESTED or tags * (begun - tags) > MAX_STEPS:
            return True
    if begun > MAX_TAGS_ON_TRUST and _most_nodes(html, begun) > MAX_NODES:
        return True
    modest = _MODEST.match(html)
    assert modest is not None  # it matches ""
    return modest.end() < len(html)


def _most_nodes(html: str, tags: int) -> int:
    """What a parser would make if each formatting element were opened again after each start tag.

    tags: an upper bound of their number.
    """
    formatting = len(_FORMATTING_TOKEN.findall(html))
    if tags * formatting > MAX_NODES:
        formatting -= len(_CLOSED_AT_ONCE.findall(html))
        tags = len(_OPENING.findall(html))
    return tags * formatting


@dataclass(frozen=True)
class Simplified:
    """A page written anew. over_budget: what there is too much of, and how much; None for a harmless page."""

    markup: str
    over_budget: tuple[str, int] | None

    @property
    def is_hopeless(self) -> bool:
        """Whether no parser should be tried; there is no markup then."""
        return self.over_budget is not None and self.over_budget[0] == "tags"


def simplify(html: str) -> Simplified:
    """The page with every element closed, elements below MAX_DEPTH opened up into the one above, and bare tags where
    there were too many attributes.

    Text stays, in its order; scripts, styles and comments go. Every end tag has its start tag, and they nest: the page
    is as deep as it looks, to any parser, and nothing is opened again. Linear in the length of the page; it stops after
    MAX_TAGS start tags.
    """
    page = _Page()
    position = 0
    for token in _TOKEN.finditer(html):
        page.write(html[position : token.start()])
        position = token.end()
        raw, raw_attributes, content, slash, name, attributes, end = token.groups()
        if raw:
            page.raw(raw.lower(), raw_attributes, content or "")
        elif name and not end:
            break  # the page ends within a tag: it is none
        elif name and slash:
            page.end(name.lower())
        elif name:
            page.start(name.lower(), attributes)
        elif token[0][:9].lower() == "<!doctype":
            page.write(token[0])
        if page.tags > MAX_TAGS:
            return Simplified("", ("tags", page.tags))
    page.write(html[position:])
    page.close(0)
    return Simplified("".join(page.written), page.over_budget())


class _Page:
    """What is open while a page is read, and what was written.

    An element is closed once and the innermost of each name is known, so a step does not depend on the depth.
    """

    def __init__(self) -> None:
        self.written: list[str] = []
        self.tags = 0
        self._open: list[tuple[str, str, bool]] = []
        """Name, attributes, and whether the element is written."""
        self._where: defaultdict[str, list[int]] = defaultdict(list)
        """Places in `_open` by name."""
        self._special: list[int] = []
        self._depth = self._deepest = 0
        self._most_attributes = self._options = self._nodes = self._steps = 0
        self._unclosed: defaultdict[str, list[str]] = defaultdict(list)
        """Attributes of formatting elements that were closed with their parents, so that HTML opens them again."""
        self._alike: Counter[tuple[str, str]] = Counter()
        self._reopened = 0

    def over_budget(self) -> tuple[str, int] | None:
        counts = {
            "attributes": (self._most_attributes, MAX_ATTRIBUTES),
            "levels": (self._deepest, MAX_DEPTH),
            "nodes": (self._nodes, MAX_NODES),
            "options": (self._options, MAX_OPTIONS),
            "steps": (self._steps, MAX_STEPS),
        }
        return next(((unit, found) for unit, (found, most) in counts.items() if found > most), None)

    def write(self, markup: str) -> None:
        self.written.append(markup)

    def raw(self, name: str, attributes: str, content: str) -> None:
        """An element whose content is no markup."""
        self.tags += 1
        attributes = self._few(attributes)
        if name not in ("script", "style"):
            self.write(f"<{name}{attributes}>{content}</{name}>")

    def start(self, name: str, attributes: str) -> None:
        self.tags += 1
        self._nodes += 1 + self._reopened
        attributes = self._few(attributes)
        if name in _ENDS_PARAGRAPH:
            self._close_within(("p",), _IN_PARAGRAPH)
        if name in _IMPLIES:
            self._close_within(*_IMPLIES[name])
        if name in VOID or name in OUTERMOST or self._is_drawn(attributes):
            self.write(f"<{name}{attributes}>")
            return
        self._options += name == "option"
        deepest = MAX_DEPTH + (LEVELS_OF_TEXT if name in TEXT else 0)
        is_written = self._depth < deepest and name != "plaintext" and self._options <= MAX_OPTIONS
        self._where[name].append(len(self._open))
        if name in SPECIAL:
            self._special.append(len(self._open))
        self._open.append((name, attributes, is_written))
        self._deepest = max(self._deepest, len(self._open))
        self._depth += is_written
        self.write(f"<{name}{attributes}>" if is_written else _blank(name))

    def end(self, name: str) -> None:
        self._nodes += self._reopened
        at = self._innermost(HEADINGS if name in HEADINGS else (name,))
        is_innermost = at == len(self._open) - 1  # as nearly always
        if at >= 0 and (is_innermost or at >= self._innermost(_BARRIERS.get(name, SPECIAL))):
            self.close(at)
            return
        self._steps += len(self._open)
        if self._unclosed[name]:
            self._alike[name, self._unclosed[name].pop()] -= 1
            self._reopened -= 1

    def close(self, at: int) -> None:
        """The element at that place, with all that is open inside."""
        while len(self._open) > at:
            name, attributes, is_written = self._open.pop()
            self._where[name].pop()
            if name in SPECIAL:
                self._special.pop()
            self._depth -= is_written
            self.write(f"</{name}>" if is_written else _blank(name))
            if name in FORMATTING and len(self._open) > at:
                self._leave_unclosed(name, attributes)

    def _leave_unclosed(self, name: str, attributes: str) -> None:
        """HTML opens at most three that are alike again, and one `a` (13.2.4.3, 13.2.6.4.7)."""
        alike = (name, "" if name == "a" else attributes)
        if self._alike[alike] < (1 if name == "a" else 3):
            self._alike[alike] += 1
            self._unclosed[name].append(alike[1])
            self._reopened += 1

    def _close_within(self, names: Collection[str], barriers: frozenset[str]) -> None:
        """The outermost of each name's innermost element, where no barrier stands between."""
        places = [where[-1] for name in names if (where := self._where[name])]
        if places:
            barrier = self._innermost(barriers)
            self.close(min((at for at in places if at >= barrier), default=len(self._open)))

    def _innermost(self, names: Collection[str]) -> int:
        if names is SPECIAL:
            return self._special[-1] if self._special else -1
        return max((where[-1] for name in names if (where := self._where[name])), default=-1)

    def _few(self, attributes: str) -> str:
        """Those of a tag, or none where they are too many."""
        if len(attributes) <= MAX_ATTRIBUTES:
            return attributes
        count = len(_ATTRIBUTE_TOKEN.findall(attributes))
        self._most_attributes = max(self._most_attributes, count)
        return attributes if count <= MAX_ATTRIBUTES else ""

    def _is_drawn(self, attributes: str) -> bool:
        """Whether it closes itself, as elements of drawings and formulas do."""
        in_drawing = self._where["svg"] or self._where["math"]
        return bool(in_drawing) and (attributes == "/" or attributes.endswith(("'/", '"/', " /")))


def _blank(name: str) -> str:
    """What stands for a tag that is not written: a space where it parted words."""
    return "" if name in FORMATTING else " "
