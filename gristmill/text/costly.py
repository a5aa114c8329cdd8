"""Markup that would make a parser slow or lose text: noticed cheaply, and made harmless where that is possible.

Parsers need more than linear time for deep nesting and for tags with very many attributes, and lxml silently drops the
text below about 256 elements. `is_costly` decides on counts alone, never on a clock, so its answer is the same
everywhere. Left out: what scripts write into a page.
"""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MAX_DEPTH = 200
"""Elements inside each other; parsers add a few of their own before they reach 256."""
MAX_TAGS = 50_000
"""Real pages: 99.9 % have fewer than 20,000."""
MAX_PARSED_TAGS = 200_000
"""With more, no parser is tried: they need more than their time, and making the page simpler does, too."""
MAX_CHARS = 2_000_000
"""Real pages: 99.9 % are shorter than 2.3 million characters."""
MAX_TAG_CHARS = 4_000
"""A longer tag has its attributes counted: most are pictures in a `data:` URL and harmless."""
MAX_ATTRIBUTES = 1_000
MAX_TAGS_ON_TRUST = 10_000
"""Up to so many tags the quick bound is believed: a page made to deceive it cannot be deep enough to cost much."""


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


VOID = _names("area base br col embed hr img input link meta param source track wbr")
# closed by what follows them, so that sloppy pages leave them open by the hundred: their parents stand for them
IMPLIED = _names("p li dt dd option optgroup tr td th thead tbody tfoot colgroup caption rp rt")
# these stay at any depth: one closes the one before, and extractors look for text inside them
PARAGRAPHS = _names("p li dt dd br")
LEVELS = {"table": 4, "ul": 2, "ol": 2, "dl": 2, "select": 2}

_TOKEN = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(script|style|textarea|title)\b.*?(?:</\1\s*>|\Z)"
    r"|<(/?)([a-zA-Z][^\s/>]*)((?:[^>\"']|\"[^\"]*\"|'[^']*')*+)>",
    re.IGNORECASE | re.DOTALL,
)
_OPENING = re.compile("<[a-zA-Z]")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_ATTRIBUTE = re.compile(r"[\s/]+[^\s/=>]")


def is_costly(html: str) -> str | None:
    """What is over the budget, such as `1000 levels`; None for a page that a parser may be given. Half a ms a page."""
    if len(html) > MAX_CHARS:
        return f"{len(html)} characters"
    tags = html.count("<")
    if tags > MAX_TAGS:
        return f"{tags} tags"
    data = html.encode("utf-8", "replace")
    at = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("<"))
    attributes = max(map(_count_attributes, _long_tags(data, at)), default=0)
    if attributes > MAX_ATTRIBUTES:
        return f"{attributes} attributes"
    if tags > MAX_DEPTH / max(LEVELS.values()) and (tags > MAX_TAGS_ON_TRUST or _depth_bound(data, at) > MAX_DEPTH):
        depth = measure_depth(html)
        if depth > MAX_DEPTH:
            return f"{depth} levels"
    return None


def _long_tags(data: bytes, at: NDArray[np.int64]) -> Iterator[str]:
    """What begins like a tag and goes on for MAX_TAG_CHARS without an end. at: where `<` stands."""
    ends = np.append(at[1:], len(data))
    for number in np.flatnonzero(ends - at > MAX_TAG_CHARS):
        tag = data[at[number] : ends[number]]
        if tag[1:2].isalpha() and b">" not in tag[:MAX_TAG_CHARS]:
            yield tag.decode("utf-8", "replace")


def _count_attributes(tag: str) -> int:
    return len(_ATTRIBUTE.findall(_QUOTED.sub("", tag)))


def _depth_bound(page: bytes, at: NDArray[np.int64]) -> int:
    """The depth if every opened element that is neither void nor implied counted as many levels as any may.

    at: where `<` stands in the page.

    Scripts and comments are read as markup, so this may be too much, by far. It is too little where elements are closed
    that were never opened, which is why it is believed of smaller pages only.
    """
    data = np.frombuffer(page + b"   ", np.uint8)
    first, second, third = data[at + 1] | 32, data[at + 2] | 32, data[at + 3] | 32
    closes = data[at + 1] == ord("/")
    opens = (first >= ord("a")) & (first <= ord("z")) & ~closes
    pair = first.astype(np.int32) << 8 | second
    for name in ("br", "im", "in", "hr", "me", "wb", "td", "tr", "th", "dt", "dd", "op"):
        opens &= pair != (ord(name[0]) << 8 | ord(name[1]))
    # <p>, <p class>, <link>, <li>
    opens &= ~((first == ord("p")) & ((second == 32 | ord(">")) | (second == 32)))
    opens &= pair != (ord("l") << 8 | ord("i"))
    name, following = second, third
    closed_pair = name.astype(np.int32) << 8 | following
    for implied in ("td", "tr", "th", "dt", "dd", "op", "li"):
        closes &= closed_pair != (ord(implied[0]) << 8 | ord(implied[1]))
    closes &= ~((name == ord("p")) & (following == 32 | ord(">")))
    nested = (pair == (ord("t") << 8 | ord("a"))) & opens
    steps = opens.astype(np.int32) - closes + 3 * nested - 3 * (closes & (closed_pair == (ord("t") << 8 | ord("a"))))
    depth = np.cumsum(steps)
    return int((depth - np.minimum.accumulate(np.minimum(depth, 0))).max(initial=0)) if len(depth) else 0


def measure_depth(html: str) -> int:
    """How deep elements are inside each other, in a page read once from left to right; about 2 ms for 100 KB."""
    depth = deepest = 0
    open_tags: list[str] = []
    counts: Counter[str] = Counter()
    for token in _TOKEN.finditer(html):
        name = (token[3] or "").lower()
        if not name or name in VOID or name in IMPLIED:
            continue
        if not token[2]:
            if token[4].endswith("/") and name in ("path", "use", "rect", "circle", "g", "line", "polygon"):
                continue  # drawings close themselves
            open_tags.append(name)
            counts[name] += 1
            depth += LEVELS.get(name, 1)
            deepest = max(deepest, depth)
        elif counts[name]:
            depth -= sum(LEVELS.get(closed, 1) for closed in _close(name, open_tags, counts))
    return deepest


def _close(name: str, open_tags: list[str], counts: Counter[str]) -> list[str]:
    """Close the innermost element of that name with all that is open inside. Each element is closed once."""
    closed: list[str] = []
    while not closed or closed[-1] != name:
        closed.append(open_tags.pop())
        counts[closed[-1]] -= 1
    return closed


def is_hopeless(html: str) -> bool:
    """Whether a page over the budget has more elements than any parser reads in time, simpler or not."""
    return sum(1 for _ in _OPENING.finditer(html)) > MAX_PARSED_TAGS


def simplify(html: str) -> str:
    """The page with elements below MAX_DEPTH opened up, so that their text stands in the one above, and with bare tags
    where there were too many attributes. Text stays, in its order; linear in the length of the page.
    """
    depth = 0
    open_tags: list[str] = []
    counts: Counter[str] = Counter()
    kept: list[bool] = []

    def simpler(token: re.Match[str]) -> str:
        nonlocal depth
        name = (token[3] or "").lower()
        if not name:
            return token[0] if token[1] and token[1].lower() == "title" else " "
        bare = len(token[4]) > MAX_TAG_CHARS and _count_attributes(token[4]) > MAX_ATTRIBUTES
        text = f"<{token[2]}{name}>" if bare else token[0]
        if name in VOID or name in IMPLIED:
            return text if depth < MAX_DEPTH or name in PARAGRAPHS else " "
        if not token[2]:
            levels = LEVELS.get(name, 1)
            open_tags.append(name)
            counts[name] += 1
            kept.append(depth + levels <= MAX_DEPTH)
            if kept[-1]:
                depth += levels
            return text if kept[-1] else " "
        if not counts[name]:
            return text if depth < MAX_DEPTH else " "
        was_kept = False
        for closed in _close(name, open_tags, counts):
            was_kept = kept.pop()
            if was_kept:
                depth -= LEVELS.get(closed, 1)
        return text if was_kept else " "

    return _TOKEN.sub(simpler, html)
