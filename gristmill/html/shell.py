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

from gristmill.html.drawings import curves, intervals
from gristmill.html.shown import count, duration, number, percent, visible

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
    environment.globals.update(curves=curves, intervals=intervals)  # importing templates do not see the context
    return environment.get_template(template.name).render(style=style, style_digest=digest, **context)


def write_whole(path: Path, text: str) -> None:
    """Write a file; a reader of `path` never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
