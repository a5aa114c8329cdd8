"""A run's report as rows and a few lines of Markdown, for places that show no HTML: Prefect's artifacts."""

from gristmill.data_report.summary import plain
from gristmill.run_report.facts import RunFacts


def verdict_text(facts: RunFacts) -> str:
    """Verdict and gate, as Markdown in which nothing that was recorded becomes markup."""
    lines = [f"**{plain(facts.verdict.title)}**", plain(facts.verdict.says)]
    lines += [f"{'✓' if rule['passed'] else '✗'} {plain(rule['says'])}" for rule in facts.verdict.rules]
    return "\n\n".join(lines)


def funnel_rows(facts: RunFacts) -> list[dict[str, str]]:
    """A row a stage."""
    return [
        {
            "stage": stage.stage,
            "state": stage.state,
            "in": "" if stage.rows_in is None else f"{stage.rows_in:,}",
            "out": "" if stage.rows_out is None else f"{stage.rows_out:,}",
            "unit": stage.unit,
            "dropped": ", ".join(f"{plain(rule)} {rows:,}" for rule, rows in stage.reasons),
            "artifact": stage.artifact,
        }
        for stage in facts.stages
    ]


def score_rows(facts: RunFacts) -> list[dict[str, str]]:
    """A row a score, a column a model."""
    return [
        {"score": row.name}
        | {
            model: "" if cell is None else plain(str(cell))
            for model, cell in zip(facts.scores.models, row.cells, strict=True)
        }
        for row in facts.scores.rows
    ]
