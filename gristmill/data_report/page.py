"""A data report as one HTML file that needs nothing else: no script, no font, no image, no network.

Everything that comes from a crawl is hostile. Jinja escapes all of it, no URL becomes a link, characters that steer
or turn text are shown by their code, and a content security policy allows only the style sheet in the file itself,
by its hash. Charts are SVG whose sizes are attributes: colours follow the reader's light or dark setting, and every
number in a chart also stands in a table or in its description.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gristmill.data_report.facts import Facts
from gristmill.data_report.histograms import Histogram
from gristmill.data_report.samples import OPT_OUT

FOLDER = Path(__file__).parent
WIDTH, HALF, AXIS = 400.0, 44.0, 16.0


def write_page(facts: Facts, path: Path) -> None:
    """Write the report; a reader of `path` never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(render(facts), encoding="utf-8")
    temporary.rename(path)


def render(facts: Facts) -> str:
    """The report's HTML."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=_count, percent=percent, visible=visible, number=_number)
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        facts=facts, style=style, style_digest=digest, draw=draw, opted_out=_opted_out(facts)
    )


def visible(text: object, *, lines: bool = False) -> str:
    """Text with characters that nobody would see, or that turn or hide others, replaced by their code.

    lines: line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(char if char.isprintable() or char in kept else f"[U+{ord(char):04X}]" for char in str(text))


def draw(histogram: Histogram) -> dict[str, Any]:
    """Rectangles and lines of a mirrored histogram in a box of WIDTH × 2 HALF: kept upwards, dropped downwards.

    Heights are square roots of counts, so that a tenth of the pages still shows beside the peak.
    """
    low, high = histogram.edges[0], histogram.edges[-1]
    peak = max([1, *histogram.kept, *histogram.dropped])
    step = WIDTH / len(histogram.kept)
    bars = []
    for kind, counts in (("kept", histogram.kept), ("dropped", histogram.dropped)):
        for place, count in enumerate(counts):
            if count:
                height = max(1.0, HALF * (count / peak) ** 0.5)
                y = HALF - height if kind == "kept" else HALF
                bar = {"x": place * step, "y": y, "width": max(step - 1, 1), "height": height}
                bars.append({name: round(value, 2) for name, value in bar.items()} | {"kind": kind})
    lines = [
        {"x": round(WIDTH * (line.value - low) / (high - low), 2), "label": _threshold(line)}
        for line in histogram.lines
        if low <= line.value <= high
    ]
    return {
        "bars": bars,
        "lines": lines,
        "ticks": [_tick(histogram, place) for place in (0, 0.5, 1)],
        "far": [_threshold(line) for line in histogram.lines if not low <= line.value <= high],
        "kept": sum(histogram.kept),
        "dropped": sum(histogram.dropped),
        "peak": peak,
    }


def _threshold(line: Any) -> str:
    languages = f" ({', '.join(line.languages)})" if line.languages else ""
    return f"{'at least' if line.rule.startswith('min_') else 'at most'} {_number(line.value)}{languages}"


def _tick(histogram: Histogram, place: float) -> dict[str, Any]:
    value = histogram.edges[0] + place * (histogram.edges[-1] - histogram.edges[0])
    shown = 10**value if histogram.logarithmic else value
    anchor = {0: "start", 0.5: "middle", 1: "end"}[place]
    label = f"{shown:,.0f}" if histogram.logarithmic else _number(shown)
    return {"x": WIDTH * place, "label": label, "anchor": anchor}


def _opted_out(facts: Facts) -> list[str]:
    return [drop.rule for drop in facts.drops if drop.rule.startswith(OPT_OUT)]


def _count(value: int) -> str:
    return f"{value:,}"


def percent(value: float) -> str:
    """A share as a percentage; what is not nothing does not look like nothing."""
    if 0 < value < 0.0005:
        return "< 0.1 %"
    return f"{100 * value:.1f} %" if value < 0.9995 or value == 1 else "> 99.9 %"


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
