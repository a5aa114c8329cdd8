"""Wikitext, the markup of MediaWiki, to plain text, in time linear in its length.

Headings, paragraphs, lists, tables, formulas and code survive; references, images, categories and most templates do
not, since what a template says cannot be known without its wiki. Follows mediawiki.org/wiki/Help:Formatting and
Help:Tables. Written here because mwparserfromhell 0.7.2, the usual choice, backtracks: 100 kB of `<ref>` that nobody
closed cost it 17 s of CPU, and an article may hold 2 MB.
"""

import html
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

MAX_DEPTH = 100

_TOKEN = re.compile(
    r"(?P<open>\{\{\{?|\[\[|\[(?=(?:https?:)?//))|(?P<close>\}\}\}?|\]\]?)"
    r"|(?P<line>\n[ \t]*(?P<table>:*[ \t]*\{\||\|\}|\|-|\|\+|\||!)?)|(?P<cell>\|\||!!|\|)"
    r"|<(?P<end>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9]*)(?P<attributes>[^<>]*)>"
)
_COMMENT_OPENS, _COMMENT_CLOSES = "<!--", "-->"

# tags whose content is no wikitext; what becomes of it
_LITERAL_TAGS = {"nowiki": "{}", "pre": "\n{}\n", "syntaxhighlight": "\n{}\n", "source": "\n{}\n"}
_FORMULA_TAGS = {"math", "chem", "ce"}
_DROPPED_TAGS = {
    *("ref", "references", "gallery", "timeline", "score", "graph", "mapframe", "maplink", "templatedata", "imagemap"),
    *("templatestyles", "indicator", "hiero", "inputbox", "categorytree", "noinclude", "style", "script"),
}
_LINE_TAGS = {"br", "hr", "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "tr", "blockquote", "poem", "center"}
_INLINE_TAGS = {
    *("b", "i", "u", "s", "em", "strong", "small", "big", "sub", "sup", "span", "font", "code", "tt", "kbd", "samp"),
    *("var", "del", "ins", "cite", "abbr", "bdi", "bdo", "q", "mark", "strike", "ruby", "rb", "rp", "rt", "dfn", "wbr"),
    *("includeonly", "onlyinclude", "section", "time", "data", "td", "th", "table", "caption", "tbody"),
}

# which argument of a template is its text; of those not named here, nothing is kept
_FIRST, _SECOND, _LAST = 0, 1, -1
_TEXT_ARGUMENT = {
    **dict.fromkeys(("nowrap", "nobr", "small", "smaller", "big", "larger", "em", "strong", "abbr", "tooltip"), _FIRST),
    **dict.fromkeys(("quote", "cquote", "blockquote", "quotation", "zitat", "цитата", "sic", "mvar", "math"), _FIRST),
    **dict.fromkeys(("ill", "interlanguage link", "val", "formatnum", "visible anchor", "anchor text", "s-"), _FIRST),
    **dict.fromkeys(("lang", "langx", "не перекладено", "не переведено", "нп", "нп3", "нп5", "iw"), _SECOND),
    **dict.fromkeys(("transl", "transliteration"), _LAST),
}
_CONSTANTS = {
    **dict.fromkeys(("ndash", "snd", "spnd", "spaced ndash", "–"), " – "),
    **dict.fromkeys(("mdash", "spaced mdash", "—"), " — "),
    "!": "|",
    "=": "=",
    "'": "'",
    "'s": "'s",
    "·": " · ",
    "•": " • ",
    "spaces": " ",
    "nbsp": " ",
    "-": "\n",
}
_RANGE_WORDS = {"-", "–", "to", "and", "or", "x", "×", "by", "+"}

# stand for what must not be read again: content that is no wikitext, and the place of a dropped template
_KEPT_OPENS, _KEPT_CLOSES, _GONE = "\x01", "\x02", "\x03"
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f]")


def plain_text(wikitext: str, *, hidden_prefixes: Collection[str] = (), keep_tables: bool = True) -> str:
    """The text of a page, headings without anything below them left out.

    hidden_prefixes: names of the namespaces of files and categories in the wiki's language, lower-cased; links to
    them show nothing. The English ones are known.
    """
    hidden = {"file", "image", "category", "media", *hidden_prefixes}
    return _Renderer(hidden, keep_tables).text(_CONTROLS.sub("", wikitext))


@dataclass
class _Frame:
    """A construct that was opened. opening: its markup, which comes back when nobody closes it.

    pieces: text of the current argument. arguments: those before it; of a table, the cells of the row. rows: of a
    table. skipping: within a table's attributes, up to the end of the line. in_caption: of a
    table.
    """

    kind: str
    opening: str
    pieces: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    skipping: bool = False
    in_caption: bool = False

    def end_argument(self) -> None:
        self.arguments.append("".join(self.pieces))
        self.pieces = []

    def end_row(self) -> None:
        self.end_argument()
        cells = [" ".join(cell.replace(_GONE, " ").split()) for cell in self.arguments]
        while cells and not cells[0]:  # what stands between `|-` and the first cell is a cell for this parser
            cells.pop(0)
        if any(cells):
            self.rows.append(" | ".join(cells))
        self.arguments = []

    def unclosed(self) -> str:
        if self.kind == "table":
            self.end_row()
            return "\n" + "\n".join(self.rows) + "\n"
        return self.opening + "|".join([*self.arguments, "".join(self.pieces)])


class _Renderer:
    def __init__(self, hidden: set[str], keep_tables: bool) -> None:
        self._hidden, self._keep_tables = hidden, keep_tables
        self._kept: list[str] = []
        self._never_closed: set[str] = set()
        self._stack = [_Frame("page", "")]

    def text(self, wikitext: str) -> str:
        wikitext = "\n" + _without_comments(wikitext)
        position = 0
        while token := _TOKEN.search(wikitext, position):
            self._add(wikitext[position : token.start()])
            position = self._token(wikitext, token)
        self._add(wikitext[position:])
        while len(self._stack) > 1:
            self._add(self._pop().unclosed())
        return self._finished("".join(self._stack[0].pieces))

    def _token(self, wikitext: str, token: re.Match[str]) -> int:
        """Do what a token says. Returns where reading goes on."""
        if token["tag"]:
            return self._tag(wikitext, token)
        if token["open"]:
            kind = {"{{{": "argument", "{{": "template", "[[": "link", "[": "external"}[token["open"]]
            self._push(_Frame(kind, token["open"]))
        elif token["close"]:
            return token.start() + self._close(token["close"])
        elif token["line"]:
            self._line(token["line"], token["table"])
        else:
            self._cell(token["cell"])
        return token.end()

    def _tag(self, wikitext: str, token: re.Match[str]) -> int:
        name, end = token["tag"].lower(), token.end()
        is_closing, is_empty = bool(token["end"]), token["attributes"].rstrip().endswith("/")
        has_content = name in _LITERAL_TAGS or name in _FORMULA_TAGS or name in _DROPPED_TAGS
        if has_content and not is_closing and not is_empty:
            closing = None if name in self._never_closed else re.compile(f"</{name}\\s*>", re.I).search(wikitext, end)
            if closing is None:  # the content is read as wikitext, and not searched for again
                self._never_closed.add(name)
                return end
            self._add(self._content(name, wikitext[end : closing.start()]))
            return closing.end()
        if name in _LINE_TAGS:
            self._add("\n")
        elif not has_content and name not in _INLINE_TAGS:
            self._add(token[0])
        return end

    def _content(self, name: str, content: str) -> str:
        if name in _DROPPED_TAGS:
            return ""
        self._kept.append(html.unescape(content) if name == "nowiki" else content.strip("\n"))
        kept = f"{_KEPT_OPENS}{len(self._kept) - 1}{_KEPT_CLOSES}"
        return f"${kept}$" if name in _FORMULA_TAGS else _LITERAL_TAGS[name].format(kept)

    def _close(self, closing: str) -> int:
        """Close the innermost construct that `closing` can end. Returns how many of its characters are used."""
        if closing.startswith("}"):
            wanted = {"argument", "template"} if len(closing) == 3 else {"template"}
        else:
            wanted = {"link", "external"} if len(closing) == 2 else {"external"}
        depth = next((depth for depth in range(len(self._stack) - 1, 0, -1) if self._stack[depth].kind in wanted), 0)
        if depth == 0 or any(frame.kind == "table" for frame in self._stack[depth:]):
            self._add(closing)
            return len(closing)
        while len(self._stack) - 1 > depth:
            self._add(self._pop().unclosed())
        frame = self._pop()
        frame.end_argument()
        render = {
            "template": self._template,
            "link": self._link,
            "external": self._external,
            "argument": self._argument,
        }
        self._add(render[frame.kind](frame.arguments))
        return {"template": 2, "link": 2, "external": 1, "argument": 3}[frame.kind]

    def _line(self, line: str, table: str | None) -> None:
        top = self._stack[-1]
        if top.kind == "external":  # does not go beyond its line
            self._add(self._pop().unclosed())
            top = self._stack[-1]
        top.skipping = False
        if table and table.endswith("{|"):
            self._add("\n")
            self._push(_Frame("table", "{|", skipping=True))
        elif table and top.kind == "table":
            self._table_line(top, table)
        elif table and table.startswith("|") and top.kind in ("template", "link"):
            top.end_argument()
            self._add(table[1:])
        else:
            self._add(line)

    def _table_line(self, top: _Frame, mark: str) -> None:
        if mark in ("|", "!") and not top.in_caption:
            top.end_argument()
            return
        top.end_row()
        top.in_caption = mark == "|+"
        if mark == "|}":
            self._pop()
            self._add("\n" + "\n".join(top.rows) + "\n" if self._keep_tables else "\n")
        top.skipping = mark == "|-"

    def _cell(self, mark: str) -> None:
        top = self._stack[-1]
        if mark == "!!" and top.kind != "table":
            self._add(mark)
        elif top.kind in ("template", "link", "argument"):
            top.end_argument()
            if mark == "||":
                top.end_argument()
        elif top.kind == "table" and mark in ("||", "!!"):
            top.end_argument()
        elif top.kind == "table":
            top.pieces = []  # what stood before a single bar were attributes
        else:
            self._add(mark)

    def _template(self, arguments: list[str]) -> str:
        name = " ".join(arguments[0].replace("_", " ").replace(_GONE, "").split()).lower()
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        function, colon, _ = name.partition(":")
        if colon and function in ("formatnum", "lc", "uc", "ucfirst", "lcfirst"):
            return arguments[0].partition(":")[2].strip()
        given = _positional(arguments[1:])
        if name in ("convert", "cvt"):
            return _converted(given) or _GONE
        if name == "frac" and given:
            return "/".join(given[-2:])
        which = _FIRST if re.fullmatch(r"lang-[a-z-]{2,12}", name) else _TEXT_ARGUMENT.get(name)
        if which is None or not given:
            return _GONE
        return given[min(which, len(given) - 1)]

    def _link(self, arguments: list[str]) -> str:
        target = arguments[0].strip()
        prefix, colon, _ = target.partition(":")
        prefix = prefix.strip().lower()
        if colon and (
            prefix in self._hidden or (len(arguments) == 1 and re.fullmatch(r"[a-z]{2,3}(-[a-z]+)*", prefix))
        ):
            return ""
        return arguments[-1] if len(arguments) > 1 and arguments[-1].strip() else target.removeprefix(":")

    def _external(self, arguments: list[str]) -> str:
        return "|".join(arguments).partition(" ")[2]

    def _argument(self, arguments: list[str]) -> str:
        return arguments[1] if len(arguments) > 1 else ""

    def _push(self, frame: _Frame) -> None:
        if len(self._stack) <= MAX_DEPTH:
            self._stack.append(frame)
        else:
            self._add(frame.opening)

    def _pop(self) -> _Frame:
        return self._stack.pop()

    def _add(self, text: str) -> None:
        if text and not self._stack[-1].skipping:
            self._stack[-1].pieces.append(text)

    def _finished(self, text: str) -> str:
        text = re.sub(r"'{2,}|__[^\W\d_a-z]{3,}__", "", html.unescape(text))
        text = _without_gone(text)
        lines = _without_empty_sections([_line(line) for line in text.split("\n")])
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        return re.sub(f"{_KEPT_OPENS}([0-9]+){_KEPT_CLOSES}", lambda kept: self._kept[int(kept[1])], text)


def _without_comments(text: str) -> str:
    pieces, position = [], 0
    while (start := text.find(_COMMENT_OPENS, position)) >= 0:
        end = text.find(_COMMENT_CLOSES, start)
        pieces.append(text[position:start])
        if end < 0:
            return "".join(pieces)
        position = end + len(_COMMENT_CLOSES)
    return "".join([*pieces, text[position:]])


def _positional(arguments: list[str]) -> list[str]:
    """The values without a name, or with a number for one, in order."""
    values = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or re.search(r"[\[<\x01]", name):
            values.append(argument.strip())
        elif re.fullmatch(r"\s*[0-9]{1,2}\s*", name):
            values.append(value.strip())
    return values


def _converted(given: list[str]) -> str:
    """`convert|5|km|mi` is `5 km`; `convert|5|to|10|km` is `5 to 10 km`."""
    if len(given) > 3 and given[1] in _RANGE_WORDS:
        return " ".join(given[:4])
    return " ".join(given[:2])


def _without_gone(text: str) -> str:
    """Marks of dropped templates taken away, with the parentheses and separators that stood about nothing else."""

    def repaired(found: re.Match[str]) -> str:
        parts = [part.strip() for part in re.split("[,;]", found[1].replace(_GONE, ""))]
        return f"({', '.join(part for part in parts if part)})" if any(parts) else ""

    text = re.sub(rf"[ \xa0]?\(([^()\n]{{0,300}}{_GONE}[^()\n]{{0,300}})\)", lambda m: _spaced(m, repaired), text)
    return text.replace(_GONE, "")


def _spaced(found: re.Match[str], repaired: Callable[[re.Match[str]], str]) -> str:
    inside = repaired(found)
    return (" " if found[0][0] != "(" else "") + inside if inside else ""


def _line(line: str) -> tuple[int, str]:
    """(level of the heading, 0 for none; the line without its marks)."""
    line = re.sub(r"[ \t\xa0]+", " ", line).strip()
    heading = re.fullmatch(r"(={1,6})([^=].*?)\1", line) if line.endswith("=") else None
    if heading:
        return len(heading[1]), heading[2].strip()
    marks = re.match(r"[*#:;]+", line)
    if not marks:
        return 0, line
    content = line[marks.end() :].strip()
    return 0, f"- {content}" if content and marks[0][-1] in "*#" else content


def _without_empty_sections(lines: list[tuple[int, str]]) -> list[str]:
    """The lines, blank ones about headings; a heading with neither text nor a kept, deeper heading below it goes."""
    kept: list[str] = []
    has_text, below = False, 7  # the level of the heading kept last, from the end
    for level, line in reversed(lines):
        if level == 0:
            has_text = has_text or bool(line)
            kept.append(line)
        elif has_text or level < below <= 6:
            kept += ["", line, ""]
            has_text, below = False, level
    return kept[::-1]
