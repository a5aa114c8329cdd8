"""The data report as Markdown, for places that show a page of it: Prefect's artifacts.

In text of a crawl every sign that could begin markup, a link or HTML is escaped with a backslash. Character references
would do as well by the standard, but Prefect's page shows them as they are written.
"""

from collections.abc import Iterable, Sequence

from gristmill.data_report.facts import Facts, Group
from gristmill.html.shown import percent, visible

SHOWN_ROWS = 15
SHOWN_SAMPLES, SHOWN_CHARS = 2, 300
_MARKUP = frozenset("\\`*_{}[]()<>#+-!|~&:./@=\"'$^")


def markdown(facts: Facts) -> str:
    """Funnel, rules, languages, lengths, domains, licences and a few samples; the HTML file has all of it."""
    left = percent(facts.left / facts.pages if facts.pages else 0)
    parts = [f"# Data report\n\n{plain(facts.scope)}: {facts.pages:,} pages in, {facts.left:,} left ({left})."]
    funnel = [
        (stage.stage, f"{stage.rows_in:,}", f"{stage.rows_out:,}", stage.unit, stage.artifact) for stage in facts.stages
    ]
    parts += ["## Funnel", _table(("stage", "in", "out", "", "artifact"), funnel)]
    drops = [
        (
            *(drop.stage, plain(drop.rule), drop.decision),
            *(f"{drop.pages:,}", percent(drop.of_stage).replace("<", "\\<"), plain(drop.threshold or "")),
        )
        for drop in facts.drops
    ]
    parts += ["## Rules", _table(("stage", "rule", "decision", "pages", "of stage", "kept"), drops)]
    for name, groups in (
        ("Languages", facts.languages),
        ("Domains", facts.domains),
        ("Sources and licences", facts.sources),
    ):
        parts += [f"## {name}", _groups(groups)]
    if facts.mixture:
        parts += ["## Mixture", _mixture(facts)]
    parts += ["## Text lengths", _lengths(facts)]
    masked = ", ".join(f"{plain(rule)} {pages:,}" for rule, pages in facts.redacted.items())
    parts += ["## Privacy and poisoning", f"Masked: {masked or 'nothing'}. Alarms: {facts.alarms_total:,}."]
    parts += ["## Samples", *_samples(facts)]
    return "\n\n".join(parts) + "\n"


def plain(text: object) -> str:
    """Any text as Markdown that shows it and does nothing else."""
    shown = visible(" ".join(str(text).split()))
    return "".join(f"\\{char}" if char in _MARKUP else char for char in shown)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells that are Markdown already."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _groups(groups: list[Group]) -> str:
    shown = groups[:SHOWN_ROWS]
    rows = [(plain(each.name), f"{each.pages:,}", f"{each.left:,}", f"{each.chars:,}") for each in shown]
    return _table(("", "pages in", "left", "characters left"), rows)


def _mixture(facts: Facts) -> str:
    rows = [
        (
            *(plain(row.name), f"{row.documents:,}", f"{row.epochs_mean:.3g}", f"{row.tokens_seen:,}"),
            *("" if row.asked is None else percent(row.asked), percent(row.seen).replace("<", "\\<")),
        )
        for row in facts.mixture
    ]
    return _table(("", "documents", "epochs", "tokens seen, estimated", "share asked", "share seen"), rows)


def _lengths(facts: Facts) -> str:
    """Left and dropped texts by powers of ten of their characters."""
    histogram = facts.lengths
    if histogram is None:
        return "No text was extracted."
    counts: dict[int, list[int]] = {}
    for place, pair in enumerate(zip(histogram.kept, histogram.dropped, strict=True)):
        power = counts.setdefault(int((histogram.edges[place] + histogram.edges[place + 1]) / 2), [0, 0])
        power[0] += pair[0]
        power[1] += pair[1]
    rows = [(f"{10**power:,} to {10 ** (power + 1):,}", f"{a:,}", f"{b:,}") for power, (a, b) in sorted(counts.items())]
    return _table(("characters", "left", "dropped after extract"), rows)


def _samples(facts: Facts) -> Iterable[str]:
    for group in facts.samples:
        by = f"{group.stage}: {group.decision} by {plain(group.rule)}" if group.rule else "Left at the end"
        yield f"### {by}"
        for page in group.pages[:SHOWN_SAMPLES]:
            value = f" ({plain(page.value)})" if page.value and group.rule else ""
            text = f"\n\n> {plain(page.text[:SHOWN_CHARS])}" if page.text else ""
            yield f"{plain(page.url)}{value}{text}"
