"""One promotion: gather what is recorded, judge it, enter the verdict in the journal, move the alias or let it wait."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gristmill.evaluate.pairing import ITEMS
from gristmill.program import RESULT
from gristmill.promotion.aliases import CHAMPION, Registry, promote
from gristmill.promotion.config import PromoteConfig
from gristmill.promotion.exposure import find_exposure
from gristmill.promotion.gate import Measured, judge, read_measured
from gristmill.promotion.journal import Journal
from gristmill.store import ArtifactStore


def decide(
    store: ArtifactStore,
    registry: Registry,
    challenger: Mapping[str, str],
    evaluations: Sequence[str],
    *,
    over: str | None,
    config: PromoteConfig,
) -> dict[str, Any]:
    """Judge a registered challenger and act on it. Returns promotion.json.

    challenger: `model`, `version` and `checkpoint`, as registration.json has them. evaluations: addresses of the
    challenger's and, when there is one, the champion's. over: the champion's checkpoint.

    `state` is `failed`, `awaiting approval`, `rolled back` (by a person, so that only a person brings it back) or
    `promoted`.
    """
    exposure = find_exposure(store, evaluations, accept_open_weights=config.open_weights == "accept")
    models = [_measured(store, address) for address in evaluations]
    mine = models[0]
    for name, exposed in exposure.items():
        shares = exposed.numbers(name, len(mine.answers.get(name, {})))
        mine = replace(mine, metrics={**mine.metrics, **shares})
    size = {"model_megabytes": _megabytes(store, challenger["checkpoint"])}
    mine = replace(mine, metrics={**mine.metrics, **size})
    verdict = judge(mine, models[1] if over else None, exposure, config)
    facts = {**challenger, "over": over, "rules": verdict.rules}
    journal = Journal(store.root, challenger["model"])
    journal.append("judged", **facts, passed=verdict.passed, approval=config.approval)
    state = "failed"
    if verdict.passed:
        waits = config.approval == "required" and not _is_champion(registry, challenger)
        state = "awaiting approval" if waits else promote(registry, journal, challenger, over=over)
    return {**facts, "promoted": state == "promoted", "state": state}


def _measured(store: ArtifactStore, evaluation: str) -> Measured:
    store.file(evaluation, ITEMS)  # a remote store brings it here
    return read_measured(store.file(evaluation, RESULT).parent)


def _megabytes(store: ArtifactStore, checkpoint: str) -> float:
    """Weights on disk."""
    files = store.recorded(checkpoint).files
    return sum(entry.size for entry in files if entry.path.endswith(".safetensors")) / 1e6


def _is_champion(registry: Registry, challenger: Mapping[str, str]) -> bool:
    return registry.aliases(challenger["model"]).get(CHAMPION) == challenger["version"]
