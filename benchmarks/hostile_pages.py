"""What pages made to stall a parser cost: given to the parsers as they are, and the way `extract` gives them.

    python benchmarks/hostile_pages.py [--limit-s 20] [--json]

Each way runs in a process that is ended after `--limit-s` CPU-seconds when unguarded. A page's needle stands in its
deepest, last or largest part: `kept` says which of the quick and the precise text have it. CPU-seconds of the guarded
way are those of the check, the simplification and both parsers.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from gristmill.text.costly import is_costly, is_hopeless, simplify
from gristmill.text.extract import PARSE_CPU_S
from gristmill.text.extractors import main_text, quick_text
from gristmill.text.sandbox import Failed, KillableWorker, TooCostly

LINE = "The miller carries grain to the mill by the river. "
MAIN = f"<p>{LINE * 2}</p>" * 5


def hostile_pages() -> Iterator[tuple[str, str]]:
    """(name, markup). The needle is a paragraph or a text, as the kind of page has it."""
    needle = f"<p>NEEDLE {LINE * 3}</p>"
    for depth in (300, 1_000, 16_000, 100_000):
        yield f"{depth} nested div", f"<body>{MAIN}{'<div>' * depth}{needle}{'</div>' * depth}</body>"
    for count in (1_000, 100_000):
        yield f"{count} unclosed b", f"<body>{MAIN}{'<b>' * count}{needle}"
        yield f"{count} unclosed a", f"<body>{MAIN}{'<a href=x>x' * count}{needle}"
        yield f"{count} nested tables", f"<body>{MAIN}{'<table><tr><td>' * count}{needle}"
        attributes = " ".join(f'a{i}="v"' for i in range(count))
        yield f"{count} attributes", f"<body>{MAIN}<div {attributes}>{needle}</div></body>"
    for count in (20_000, 1_000_000):
        yield f"{count} siblings", f"<body>{MAIN}{needle}{'<i>a</i>' * count}</body>"
    for size in (2, 8):
        yield f"text node of {size} MB", f"<body>{MAIN}<p>NEEDLE {LINE * (size * 1_000_000 // len(LINE))}</p></body>"
    yield "8 MB without a space", f"<body>{MAIN}<p>NEEDLE {'a' * 8_000_000}</p></body>"
    yield "4 MB data URL", f'<body>{MAIN}<img src="data:image/png;base64,{"A" * 4_000_000}">{needle}</body>'
    yield "4 MB script", f"<body>{MAIN}<script>{'if (a < b) { c(); } ' * 200_000}</script>{needle}</body>"
    yield "100000 comments never closed", f"<body>{MAIN}{needle}{'<!-- x ' * 100_000}"
    yield "100000 entities", f"<body>{MAIN}{needle}<p>{'&amp;&#x41;&nosuch;' * 100_000}</p></body>"
    yield "NUL bytes and surrogates", f"<body>{MAIN}{chr(0) * 10_000}{needle}{chr(0xD800)}</body>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-s", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rows = []
    warm_up = ((quick_text, ("<p>",)), (main_text, ("<p>", "", "precise")))
    with KillableWorker(*warm_up) as worker:
        for name, html in hostile_pages():
            reason, check_s = timed(is_costly, html)
            if reason and is_hopeless(html):
                guarded = {"cpu_s": check_s, "kept": "refused"}
            else:
                simple, simplify_s = timed(simplify, html) if reason else (html, 0.0)
                guarded = parse(worker, simple, PARSE_CPU_S)
                guarded["cpu_s"] += check_s + simplify_s
            alone = parse(worker, html, arguments.limit_s)
            rows.append({"page": name, "over": reason, "guarded": guarded, "alone": alone})
    if arguments.json:
        print(json.dumps({"pages": rows, "slowest_guarded_s": max(row["guarded"]["cpu_s"] for row in rows)}))
        return
    print(f"{'page':30}{'over the budget':24}{'guarded s':>10}  {'kept':16}{'alone s':>9}  kept")
    for row in rows:
        guarded, alone = row["guarded"], row["alone"]
        shown = f"{guarded['cpu_s']:10.2f}  {guarded['kept']:16}{alone['cpu_s']:9.2f}  {alone['kept']}"
        print(f"{row['page']:30}{row['over'] or '–':24}{shown}")


def parse(worker: KillableWorker, html: str, limit_s: float) -> dict[str, Any]:
    """CPU-seconds of both parsers, and which text has the needle or what ended them."""
    spent = 0.0
    try:
        (main, _), spent = worker.run(timed, quick_text, html, cpu_s=limit_s)
        text, more = worker.run(timed, main_text, html, main, "precise", cpu_s=limit_s)
    except (TooCostly, Failed) as error:
        ended = error.kind if isinstance(error, TooCostly) else "raised"
        return {"cpu_s": spent + (limit_s if ended == "cpu" else 0.0), "kept": ended}
    kept = [name for name, found in (("quick", main), ("precise", text)) if "NEEDLE" in found]
    return {"cpu_s": spent + more, "kept": " ".join(kept) or "neither"}


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    started = time.process_time()
    return function(*arguments), time.process_time() - started


if __name__ == "__main__":
    main()
