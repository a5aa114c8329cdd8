"""A module's docstrings as a page of a documentation site: navigation, article, footer, as real sites have them.

Docstrings are plain text with habits (reStructuredText, numpy's and Google's sections). What is recognized: section
headings, lists, doctests, literal blocks, tables, field lists and inline code; the rest becomes paragraphs.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from gristmill.crawl.docstrings import INLINE, Entry, ModuleDoc

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{module} — {package} {version} documentation</title>
<link rel="canonical" href="{url}">
</head>
<body>
<header>
<nav class="navbar" aria-label="Site">
<a class="brand" href="/">Package Documentation</a>
<ul><li><a href="/{package}/">{package}</a></li><li><a href="/genindex.html">Index</a></li>\
<li><a href="/modindex.html">Modules</a></li></ul>
<form action="/search.html" method="get"><input type="text" name="q" placeholder="Search the docs">\
<button type="submit">Search</button></form>
</nav>
</header>
<aside class="sidebar">
<h3>Modules nearby</h3>
<ul>
{neighbours}
</ul>
</aside>
<main>
<article>
<h1>{module}</h1>
{body}
</article>
</main>
<footer>
<p>© The {package} developers. All rights reserved by their owners. Documentation of version {version}.</p>
<ul><li><a href="/about.html">About these pages</a></li><li><a href="/privacy.html">Privacy policy</a></li>\
<li><a href="/search.html">Search</a></li></ul>
</footer>
</body>
</html>
"""
_ITEM = re.compile(r"(?:[-*+•]|\d{1,2}[.)])\s+")
_FENCE = "```"
_UNDERLINE = re.compile(r"([-=~^*#\"'`])\1{2,}\s*")
_TABLE = re.compile(r"\s*(?:\+[-=+]+\+|=+(?:\s+=+)+|\|.*\|)\s*$")
_DIRECTIVE = re.compile(r"\.\. ([\w:-]+)::\s*(.*)")
_CODE_DIRECTIVES = {"code", "code-block", "sourcecode", "math", "plot", "parsed-literal", "ipython", "testcode"}
_HIDDEN_DIRECTIVES = {"currentmodule", "module", "automodule", "autosummary", "toctree", "index", "highlight", "image"}
# an item, a field, or `name (type): text` as in Google's sections
_OPENS = re.compile(rf"\s*(?:{_ITEM.pattern}|:\w+[^:]*:\s|[*\w.`]+(?: \([^)]*\))?:\s)")
_FIELD = re.compile(r":(param|parameter|arg|type|return|returns|rtype|raise|raises|keyword|var|ivar)( [^:]*)?:\s*")


def page(module: ModuleDoc, neighbours: Sequence[ModuleDoc]) -> str:
    """HTML of one module; `neighbours` are linked in the sidebar."""
    body = [*_blocks(module.docstring), *(block for entry in module.entries for block in _section(entry))]
    links = (f'<li><a href="{escape(near.url)}">{escape(near.module)}</a></li>' for near in neighbours)
    return _PAGE.format(
        module=escape(module.module),
        package=escape(module.package),
        version=escape(module.version),
        url=escape(module.url),
        neighbours="\n".join(links),
        body="\n".join(body),
    )


def _section(entry: Entry) -> Iterator[str]:
    level = 3 if entry.kind == "method" else 2
    name = escape(entry.qualname)
    yield f'<section id="{name}">'
    yield f"<h{level}>{name}</h{level}>"
    yield f'<p class="signature"><code>{"class " if entry.kind == "class" else ""}{escape(entry.signature)}</code></p>'
    yield from _blocks(entry.docstring)
    yield "</section>"


def _blocks(docstring: str) -> Iterator[str]:
    """The elements of one docstring."""
    literal_within = -1  # indentation of the line that announced a literal block with `::`
    for group in _groups(docstring):
        indent = _indent(group[0])
        if group[0].lstrip().startswith(_FENCE):
            code = [line for line in group if not line.lstrip().startswith(_FENCE)]
            if any(code):
                yield _pre(code)
            continue
        if literal_within >= 0 and indent > literal_within:
            yield _pre(group)
            continue
        literal_within = -1
        directive = _DIRECTIVE.match(group[0].strip())
        if directive and directive[1] in _CODE_DIRECTIVES | _HIDDEN_DIRECTIVES:
            if directive[1] in _CODE_DIRECTIVES:
                literal_within = indent
                code = [line for line in group[1:] if not re.match(r"\s*:[\w-]+:", line)]
                if code or directive[2]:
                    yield _pre(code or [directive[2]])
            continue
        if directive:
            opening = f"{directive[1].capitalize()}: {directive[2]}"
            yield _paragraph([opening, *group[1:]])
            continue
        if group[-1].rstrip().endswith("::"):
            literal_within = _indent(group[-1])
            group = [*group[:-1], group[-1].rstrip()[:-1]]
        yield from _group_elements(group)


def _groups(docstring: str) -> Iterator[list[str]]:
    """Runs of lines without a blank one between them, and fenced blocks with their fences."""
    group: list[str] = []
    fenced = False
    for line in docstring.split("\n"):
        if line.lstrip().startswith(_FENCE):
            if group and not fenced:
                yield group
                group = []
            group.append(line)
            if fenced:
                yield group
                group = []
            fenced = not fenced
        elif line.strip() or fenced:
            group.append(line.rstrip())
        elif group:
            yield group
            group = []
    if group:
        yield group


def _group_elements(group: list[str]) -> Iterator[str]:
    if len(group) > 1 and _UNDERLINE.fullmatch(group[1].strip()) and not _TABLE.match(group[1]):
        yield f"<h4>{_inline(group[0].strip())}</h4>"
        group = group[2:]
    if not group:
        return
    if any(line.lstrip().startswith((">>>", "In [")) for line in group) or any(map(_TABLE.match, group)):
        yield _pre(group)
        return
    items: list[str] = []
    for run in _runs(group):
        text = run[0].strip()
        if _ITEM.match(text):
            items.append(f"<li>{_inline(' '.join([_ITEM.sub('', text, count=1), *map(str.strip, run[1:])]))}</li>")
            continue
        if items:
            yield f"<ul>{''.join(items)}</ul>"
            items = []
        yield _paragraph([_FIELD.sub(_field_words, text), *run[1:]])
    if items:
        yield f"<ul>{''.join(items)}</ul>"


def _runs(group: list[str]) -> Iterator[list[str]]:
    """Lines that read on: a new run begins at an item, a field or a name, and where the indentation changes."""
    run = [group[0]]
    for before, line in pairwise(group):
        hangs = len(run) == 1 and _OPENS.match(run[0]) and _indent(line) > _indent(before)
        if _OPENS.match(line) or (_indent(line) != _indent(before) and not hangs):
            yield run
            run = []
        run.append(line)
    yield run


def _field_words(field: re.Match[str]) -> str:
    name = (field[2] or "").strip()
    return f"{name}: " if name else f"{field[1].capitalize()}: "


def _paragraph(lines: list[str]) -> str:
    return f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>"


def _pre(lines: list[str]) -> str:
    margin = min(_indent(line) for line in lines if line)
    return f"<pre>{escape(chr(10).join(line[margin:] for line in lines))}</pre>"


def _inline(text: str) -> str:
    parts, at = [], 0
    for code in INLINE.finditer(text):
        parts += [escape(text[at : code.start()]), f"<code>{escape(code[2])}</code>"]
        at = code.end()
    return "".join(parts) + escape(text[at:])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
