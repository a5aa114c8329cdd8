"""Reports as one HTML file that needs nothing else: no script, no font, no image, no network.

Whatever a crawl or a model wrote is hostile. Jinja escapes all of it, no URL becomes a link, characters that steer
or turn text are shown by their code, and a content security policy allows only the style sheet in the file itself,
by its hash. Drawings are SVG whose sizes are attributes: colours follow the reader's light or dark setting.
"""

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


def render_page(template: Path, **context: Any) -> str:
    """The HTML of a template that extends `shell.html.j2`; it sees the templates beside it too."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, percent=percent, visible=visible, number=number, duration=duration)
    style = (FOLDER / "shell.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template.name).render(style=style, style_digest=digest, **context)


def write_whole(path: Path, text: str) -> None:
    """Write a file; a reader of `path` never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)


def visible(text: object, *, lines: bool = False) -> str:
    """Text with characters that nobody would see, or that turn or hide others, replaced by their code.

    lines: line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(char if char.isprintable() or char in kept else f"[U+{ord(char):04X}]" for char in str(text))


def count(value: int) -> str:
    """Thousands apart."""
    return f"{value:,}"


def percent(value: float) -> str:
    """A share as a percentage; what is not nothing does not look like nothing."""
    if 0 < value < 0.0005:
        return "< 0.1 %"
    return f"{100 * value:.1f} %" if value < 0.9995 or value == 1 else "> 99.9 %"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """In the two units that matter: `41.2 s`, `12 min 05 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"
