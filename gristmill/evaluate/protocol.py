"""How a benchmark was asked, and whether two models were asked alike: only then do their answers compare item by item.

An evaluation keeps it in the details of its report, under `benchmarks`, one entry a benchmark.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gristmill.program import RESULT
from gristmill.report import Report

HowAsked = Mapping[str, Any]
"""How one benchmark was asked; PINNED and facts of the run, such as `n`."""

PINNED = {
    "version": "the definition's version",
    "definition": "the definition",
    "num_fewshot": "the number of examples",
    "data_sha256": "the file of items",
    "harness": "the harness",
    "prefix": "the rule of the first token",
    "prefix_token": "the first token",
    "precision": "the precision",
    "chat": "the format",
}
"""What must be the same for both models."""


def read_how_asked(evaluation: Path) -> dict[str, HowAsked]:
    """By benchmark, from the folder of an evaluation; empty for one that did not record it."""
    report = Report.model_validate_json((evaluation / RESULT).read_bytes())
    found = report.details.get("benchmarks", {})
    return {name: asked for name, asked in found.items() if "definition" in asked}


def asked_differently(mine: HowAsked | None, other: HowAsked | None, *, own_formats: bool = False) -> str:
    """What differs in how two models were asked one benchmark, in words; empty where nothing does.

    own_formats: let pass that one was asked in the chat format and the other, a base model, in the plain one.
    """
    if mine is None or other is None:
        return f"how {'this model' if mine is None else 'the other one'} was asked is not on record; evaluate it again"
    formats_differ = mine["chat"] != other["chat"]
    skipped = {"chat", "prefix_token"} if own_formats and formats_differ else set()
    found = [
        difference
        for name, called in PINNED.items()
        if name not in skipped
        for difference in _differences(called, mine.get(name), other.get(name))
    ]
    return f"the two were not asked alike: {'; '.join(found)}" if found else ""


def _differences(called: str, mine: Any, other: Any) -> Iterator[str]:
    if mine == other:
        return
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys([*mine, *other]):
            yield from _differences(str(name), mine.get(name), other.get(name))
    elif called == PINNED["chat"]:
        yield f"{called} is {_format(mine)} here, {_format(other)} there"
    else:
        yield f"{called} is {_shown(mine)} here, {_shown(other)} there"


def _format(chat: object) -> str:
    return "chat" if chat else "plain"


def _shown(value: Any) -> str:
    text = "none" if value is None else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:56]} …"
