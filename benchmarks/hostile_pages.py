"""What pages made to stall a parser cost: given to the parsers as they are, and the way `extract` gives them.

    python benchmarks/hostile_pages.py [--limit-s 20] [--json]

Both ways run in a process with 1 GiB of memory, ended after `--limit-s` CPU-seconds when unguarded. A page's needle
stands in its deepest, last or largest part: `kept` says which of the quick and the precise text have it. CPU-seconds
of the guarded way are those of the check, the simplification and both parsers.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from gristmill.text.costly import may_be_costly, simplify
from gristmill.text.extract import PARSE_CPU_S
from gristmill.text.extractors import Mode, TooDeep, main_text, main_text_at_any_depth, quick_text
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
    yield from evasions(needle)
    yield "NUL bytes and surrogates", f"<body>{MAIN}{chr(0) * 10_000}{needle}{chr(0xD800)}</body>"


def evasions(needle: str) -> Iterator[tuple[str, str]]:
    """Pages that look harmless to a check that is not exact, or that are costly to check."""
    bold = "".join(f"<b id={i}>" for i in range(190))
    yield "190 b, again in 28000 p", f"<body>{MAIN}{needle}<p>{bold}</p>{'<p>x' * 28_000}"
    yield "190 b, again in 48000 p", f"<body>{MAIN}{needle}<p>{bold}</p>{'<p>x' * 48_000}"
    bold = "".join(f"<b id={i}>" for i in range(700))
    yield "700 b, again in 700 p", f"<body>{MAIN}{needle}<p>{bold}</p>{'<p>x' * 700}"
    attributes = " ".join(f"a{i}=1" for i in range(100_000))
    for quoted in "<>":
        yield f"100000 attributes after '{quoted}'", f"<body>{MAIN}<div a='{quoted}' {attributes}>{needle}</div>"
    for opening in ("<ins>", "<metadata>", "<dd>", "<div></span>", "<div></p >", "<span><div></span>"):
        yield f"300 {opening}", f"<body>{MAIN}{opening * 300}{needle}"
    yield "300 <div><object></div></object>", f"<body>{MAIN}{'<div><object></div></object>' * 300}{needle}"
    yield "25000 p in 7000 div", f"<body>{MAIN}{'<div>' * 7_000}{'<p>x' * 25_000}{needle}"
    yield "1000 x, 1000000 end tags of y", f"<body>{MAIN}{needle}{'<x>' * 1_000}{'</y>' * 1_000_000}"
    yield "8000 options", f"<body>{MAIN}{needle}<select>{'<option>x' * 8_000}"
    yield "30000 options", f"<body>{MAIN}{needle}<select>{'<option>x' * 29_900}"
    yield "table of 29000 tags", f"<body>{MAIN}{needle}<table>{'<tr><td>1<td>2</tr>' * 9_700}</table>"
    yield "table of 126000 tags", f"<body>{MAIN}{needle}<table>{'<tr><td>1<td>2</tr>' * 42_000}</table>"
    yield "a tag of 100000 spaces", f"<body>{MAIN}{needle}<a{' ' * 100_000}>"
    yield "40000 tags that never end", f"<body>{MAIN}{needle}{'<a ' * 40_000}"
    yield "a name of 40000 letters", f"<body>{MAIN}{'<div>' * 250}{needle}<{'a' * 40_000}"
    yield "<style-guide>", f"<body>{MAIN}<style-guide>{needle}</style-guide>"
    for comment in ("<!-->", "<!--->", "<!-- x --!>", "<script>1</script x>"):
        yield f"{comment} in 300 div", f"<body>{MAIN}{'<div>' * 300}{comment}{needle}"


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
            over, guarded = as_extract_does(worker, html)
            alone = parse(worker, html, alone_main_text, arguments.limit_s)
            rows.append({"page": name, "over": over, "guarded": guarded, "alone": alone})
    if arguments.json:
        print(json.dumps({"pages": rows, "slowest_guarded_s": max(row["guarded"]["cpu_s"] for row in rows)}))
        return
    print(f"{'page':34}{'over the budget':20}{'guarded s':>10}  {'kept':16}{'alone s':>9}  kept")
    for row in rows:
        guarded, alone = row["guarded"], row["alone"]
        shown = f"{guarded['cpu_s']:10.2f}  {guarded['kept']:16}{alone['cpu_s']:9.2f}  {alone['kept']}"
        print(f"{row['page']:34}{row['over'] or '–':20}{shown}")


def as_extract_does(worker: KillableWorker, html: str) -> tuple[str | None, dict[str, Any]]:
    """What is over a budget, and the page's cost and fate."""
    (html, over), spent = timed(harmless, html)
    if html is None:
        return over, {"cpu_s": spent, "kept": "refused"}
    guarded = parse(worker, html, main_text_at_any_depth, PARSE_CPU_S)
    guarded["cpu_s"] += spent
    return over or guarded.pop("over", None), guarded


def harmless(html: str) -> tuple[str | None, str | None]:
    """The page that parsers are given, None for no page; and what is over a budget."""
    simple = simplify(html) if may_be_costly(html) else None
    if simple is None or simple.over_budget is None:
        return html, None
    unit, found = simple.over_budget
    return None if simple.is_hopeless else simple.markup, f"{found} {unit}"


def alone_main_text(html: str, quick: str, mode: Mode) -> tuple[str, bool]:
    """Of the page as it is; empty where the parser has dropped a part."""
    try:
        return main_text(html, quick, mode), False
    except TooDeep:
        return "", False


def parse(worker: KillableWorker, html: str, main_text: Callable[..., Any], limit_s: float) -> dict[str, Any]:
    """CPU-seconds of both parsers, and which text has the needle or what ended them."""
    spent = 0.0
    try:
        (main, _), spent = worker.run(timed, quick_text, html, cpu_s=limit_s)
        (text, was_too_deep), more = worker.run(timed, main_text, html, main, "precise", cpu_s=limit_s)
    except (TooCostly, Failed) as error:
        ended = error.kind if isinstance(error, TooCostly) else "raised"
        return {"cpu_s": spent + (limit_s if ended == "cpu" else 0.0), "kept": ended}
    kept = [name for name, found in (("quick", main), ("precise", text)) if "NEEDLE" in found]
    row: dict[str, Any] = {"cpu_s": spent + more, "kept": " ".join(kept) or "neither"}
    return row | ({"over": "> 256 levels"} if was_too_deep else {})


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    started = time.process_time()
    return function(*arguments), time.process_time() - started


if __name__ == "__main__":
    main()
