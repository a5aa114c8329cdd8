"""What each stage of a run took, from the records that there are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.ledger.account import JOULES_PER_KWH, priced
from gristmill.ledger.config import PricesConfig
from gristmill.scope import holds
from gristmill.store import ArtifactStore, Record

METRICS = "metrics.jsonl"
READ_BYTES = 2**18


@dataclass(frozen=True)
class StageCost:
    """One stage; None where nobody recorded it."""

    stage: str
    state: str
    seconds: float
    """Of building it, by whichever run did."""
    seconds_here: float
    """In this run: nothing where it was reused."""
    cpu_seconds: float | None
    energy_j: float | None
    money: float | None


def stage_costs(store: ArtifactStore, run: Mapping[str, Any], records: Mapping[str, Record]) -> Sequence[StageCost]:
    """In the order of the run's stages, at the run's prices. records: by address, of those that are still there."""
    at = PricesConfig.model_validate(run.get("prices", {}))
    costs = []
    for stage in run["stages"]:
        record = records.get(stage["key"])
        seconds = record.seconds if record else stage["seconds"]
        here = stage["seconds"] if stage["state"] == "built" else 0.0
        known = priced(record.costs, at) if record and record.costs else None
        energy = _energy(store, record) if known is None or known.kwh is None else known.kwh * JOULES_PER_KWH
        cpu_seconds, money = (known.costs.cpu_seconds, known.money) if known else (None, None)
        costs.append(StageCost(stage["stage"], stage["state"], seconds, here, cpu_seconds, energy, money))
    return costs


def _energy(store: ArtifactStore, record: Record | None) -> float | None:
    """Joules, where the machine could be asked while the stage trained (docs/training.md)."""
    if record is None or not holds(record, METRICS):
        return None
    return last_logged(store.file(record.address, METRICS), "energy_j")


def last_logged(path: Path, name: str) -> float | None:
    """The newest number of that name, looked for at the end of a file of any length."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - READ_BYTES))
        lines = file.read().split(b"\n")[:-1]
    for line in reversed(lines[1:] if size > READ_BYTES else lines):
        value = json.loads(line).get(name)
        if isinstance(value, int | float):
            return float(value)
    return None
