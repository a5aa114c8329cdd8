"""What a model is not good for, as far as its records tell."""

from collections.abc import Iterator

from gristmill.cards.facts import CardFacts
from gristmill.cards.markdown import inline
from gristmill.run_report.scores import BASELINES, Cell


def limits_of(facts: CardFacts) -> list[str]:
    """Sentences of Markdown."""
    return list(_limits(facts))


def _limits(facts: CardFacts) -> Iterator[str]:
    if facts.parameters:
        yield (
            f"It has {facts.parameters:,} parameters. What it says is often wrong, however sure it sounds; "
            "do not use it where that matters."
            if facts.parameters < 1e9
            else f"It has {facts.parameters:,} parameters. What it says may be wrong, however sure it sounds."
        )
    if facts.languages:
        names = ", ".join(inline(language) for language, _ in facts.languages[:10])
        yield f"Its training text is in: {names}. It was not made for others."
    yield from _near_chance(facts)
    if not facts.safety:
        yield "How safe its answers are was not measured: it may insult, mislead, or repeat what it has read."
    if facts.masked:
        yield "Personal data was masked where the rules found it; they do not find all of it."
    else:
        yield "No personal data was masked in its training text, or nobody recorded it."
    if facts.decontamination:
        yield "Benchmark items were looked for word by word; it may have read paraphrases and translations of them."
    else:
        yield "Benchmark items were not kept out of its training text, so its scores may be too good."
    if facts.origin:
        yield f"It began with the weights of {inline(facts.origin.name)}. What those read is not in these records."
    if facts.gone:
        yield f"{len(facts.gone)} artifacts behind it were deleted, so these cards do not tell all of its story."


def _near_chance(facts: CardFacts) -> Iterator[str]:
    """Benchmarks on which the model cannot be told from one that reads nothing."""
    values = {row.name: row.cells[0] for row in facts.scores.rows}
    for name, cell in values.items():
        if not name.endswith("_accuracy") or not isinstance(cell, Cell) or cell.low is None:
            continue
        benchmark = name.removesuffix("_accuracy")
        baselines = [values.get(f"{benchmark}_{kind}") for kind in BASELINES]
        best = max((each.value for each in baselines if isinstance(each, Cell)), default=None)
        if best is not None and cell.low <= best:
            yield f"On {benchmark} it is no better than a baseline without a model ({best:.4f}), as far as can be told."
