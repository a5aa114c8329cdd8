"""Which benchmark items a model may have trained on, from the records of the decontamination behind it.

Kept out are items that every `decontaminate` behind the model looked for and covers. What it found was cut, so such an
item still counts, and is counted. Rows for fine-tuning that a team brings itself are looked through for the same items
by the stages that train on them. Left out: paraphrases.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gristmill.dedup.decontaminate_config import EXAMPLES
from gristmill.evaluate.found_items import named_items
from gristmill.evaluate.pairing import ITEMS, read_rows
from gristmill.jsonl import read_jsonl
from gristmill.store import ArtifactStore, BrokenArtifact, Recipe


@dataclass(frozen=True)
class Exposure:
    """Of one benchmark. items: ids that a model may have trained on. found: items that stood on crawled pages and were
    cut there. unknown: why nothing can be said of any item."""

    items: frozenset[str] = frozenset()
    found: int = 0
    unknown: str | None = None

    def numbers(self, benchmark: str, asked: int) -> dict[str, float]:
        """Shares of the items asked, for ceilings; none when nothing is known."""
        if self.unknown or not asked:
            return {}
        return {
            f"{benchmark}_exposed_share": len(self.items) / asked,
            f"{benchmark}_found_share": self.found / asked,
        }


def find_exposure(
    store: ArtifactStore, evaluations: Sequence[str], *, accept_open_weights: bool
) -> dict[str, Exposure]:
    """By benchmark of the first evaluation: the items that one of the evaluated models may have trained on."""
    asked = read_rows(_file(store, evaluations[0], ITEMS).parent)
    cleanings: dict[str, Recipe] = {}
    try:
        for evaluation in evaluations:
            model = store.recorded(evaluation).recipe.inputs["model"]
            assert model
            behind = dict(_cleanings(store, model, accept_open_weights=accept_open_weights))
            if not behind:
                raise _Unknown(f"{model} was made without the stage decontaminate")
            cleanings |= behind
        recipe = store.recorded(evaluations[0]).recipe
        return {
            benchmark["name"]: _exposure(store, benchmark, asked.get(benchmark["name"], {}), recipe, cleanings)
            for benchmark in recipe.config["evaluate"]["benchmarks"]
        }
    except (FileNotFoundError, BrokenArtifact, _Unknown) as error:
        why = f"which items were kept out of the training text is not known ({error})"
        return {name: Exposure(unknown=why) for name in asked}


class _Unknown(Exception):
    """Nothing can be said of what a model was trained on."""


def _cleanings(store: ArtifactStore, address: str, *, accept_open_weights: bool) -> Iterator[tuple[str, Recipe]]:
    """Every decontaminated text behind an artifact. Raises _Unknown for one that began with open weights."""
    recipe = store.recorded(address).recipe
    if recipe.stage == "decontaminate":
        yield address, recipe
        return
    if recipe.config.get("model", {}).get("start", {}).get("kind") == "open" and not accept_open_weights:
        raise _Unknown(f"{address} began with open weights; promote.open_weights: accept would let that pass")
    for source in recipe.inputs.values():
        if source and "/" in source:
            yield from _cleanings(store, source, accept_open_weights=accept_open_weights)


def _exposure(
    store: ArtifactStore,
    benchmark: Mapping[str, Any],
    asked: Mapping[str, int | None],
    evaluation: Recipe,
    cleanings: Mapping[str, Recipe],
) -> Exposure:
    exposed: set[str] = set()
    found: set[str] = set()
    for address, recipe in cleanings.items():
        if benchmark["data"]["kind"] == "examples":
            name = EXAMPLES
            looked_for = asked.keys() & _held_out_alike(store, evaluation.inputs["examples"], recipe.inputs["examples"])
        else:
            content = benchmark["data"].get("path")  # a task of the hub has none, and nobody looked for its items
            name = next(
                (each["name"] for each in recipe.config[recipe.stage]["benchmarks"] if each["path"] == content), None
            )
            looked_for = set(asked) if name else set()
        not_covered = [row for _, row in read_jsonl(_file(store, address, "not_covered.jsonl"))]
        exposed |= asked.keys() - looked_for
        exposed |= named_items(asked, name, not_covered)
        found |= named_items(asked, name, pq.read_table(_file(store, address, "leaks.parquet")).to_pylist())
    return Exposure(frozenset(exposed), len(found))


def _held_out_alike(store: ArtifactStore, one: str | None, other: str | None) -> set[str]:
    """Ids of held-out items that are the same, word for word, in two artifacts of the stage examples."""
    assert one
    assert other
    texts = [
        {row["id"]: (row["text"], row["summary"]) for _, row in read_jsonl(_file(store, address, "held_out.jsonl"))}
        for address in (one, other)
    ]
    return {key for key in texts[0] if texts[0][key] == texts[1].get(key)}


def _file(store: ArtifactStore, address: str, name: str) -> Path:
    path = store.file(address, name)
    if not path.is_file():
        raise FileNotFoundError(f"{address} has no {name}")
    return path
