"""Recorded text inside Markdown: shown as it is, doing nothing, and still readable where nobody renders it.

Only signs that could begin markup, a link or HTML within a line are escaped. What begins a block is of no concern:
recorded text never begins a line here.
"""

import re

from gristmill.html.shown import visible

_MARKUP = re.compile(r"[\\`*\[\]<>|~$&#!@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.", re.IGNORECASE)


def inline(text: object) -> str:
    """Any text as a part of a line of Markdown."""
    return _MARKUP.sub(lambda sign: f"\\{sign[0]}", visible(" ".join(str(text).split())))
