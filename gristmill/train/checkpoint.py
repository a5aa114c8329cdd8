"""Checkpoints that are either whole or not there: `checkpoints/step-00000120/` with safetensors and a manifest.

Weights and optimizer state are plain tensors by name, never pickled. Each process that holds a part of its own writes
it (`slices.py`), so that a checkpoint of a sharded run needs no process with room for all of it, and any number of
processes can read it. Nothing else has to be kept: the order of rows and the learning rate are functions of the step,
and training draws no random numbers. docs/decisions/0005-checkpoints.md says why it is so.
"""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from gristmill.schema import Schema
from gristmill.train.guards import GuardState
from gristmill.train.ranks import Ranks
from gristmill.train.recipe import Recipe, differences, is_recipe_of_format_1
from gristmill.train.slices import SavedTensors, save_slices

logger = logging.getLogger(__name__)

FORMAT = 2
MANIFEST = "state.json"


class TrainState(Schema):
    """How far a run is."""

    step: int = 0
    """Optimizer steps done, skipped ones included."""
    tokens: int = 0
    """Tokens read so far, the first of each row left out; all of them are predicted, but by a masked model."""
    skipped_steps: int = 0
    """Steps that the weights owe nothing to: their loss spiked or was not finite, or they were undone."""
    loss: float = 0.0
    """Nats per token of the last step."""
    rows_digest: str = ""
    """sha256 over the numbers of all rows so far, step by step: equal digests, equal data in equal order."""
    best_step: int | None = None
    """Step at which validation was best so far."""
    best_bits_per_byte: float | None = None
    """What it was there."""
    evaluations_without_gain: int = 0
    """Measurements of validation since then."""
    guard: GuardState = GuardState()
    """What the guards against spikes remember."""
    recent_nats: float = 0.0
    """Summed over the targets of the steps since the last validation."""
    recent_bytes: int = 0
    """Of text, of those targets."""


class Manifest(Schema):
    """`state.json` of a checkpoint."""

    format: int
    state: TrainState
    recipe: Recipe
    """What is computed from what: only the same run may go on from here."""
    files: dict[str, str]
    """Name of the file → sha256."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole."""

    path: Path
    state: TrainState
    files: list[str]

    def weights(self) -> SavedTensors:
        return self._tensors("model")

    def optimizer(self) -> SavedTensors:
        return self._tensors("optimizer")

    def _tensors(self, kind: str) -> SavedTensors:
        return SavedTensors([self.path / name for name in self.files if name.startswith(kind)])


def save_checkpoint(
    folder: Path,
    state: TrainState,
    *,
    recipe: Recipe,
    weights: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    ranks: Ranks,
    keep: int,
) -> None:
    """Write `folder/step-N`, then remove all but the newest `keep` and the best. All processes call it.

    A crash at any moment leaves the older ones. `folder` is one that all processes see.
    """
    final = folder / f"step-{state.step:08d}"
    draft = folder / ".draft"
    if ranks.is_main:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    ranks.wait()
    written = [
        path
        for kind, tensors in (("model", weights), ("optimizer", optimizer))
        if (path := save_slices(draft, kind, tensors, ranks=ranks))
    ]
    for path in written:
        sync_to_disk(path)
    files = {
        name: digest
        for part in ranks.gathered({path.name: _sha256(path) for path in written})
        for name, digest in part.items()
    }
    if not ranks.is_main:
        return
    manifest = Manifest(format=FORMAT, state=state, recipe=recipe, files=dict(sorted(files.items())))
    (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    for path in (draft / MANIFEST, draft):
        sync_to_disk(path)
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    sync_to_disk(folder)
    # what a killed run wrote beyond this step is of no use, and must not push out what is
    beyond = [path for path in _checkpoints(folder) if _step(path) > state.step]
    earlier = [path for path in _checkpoints(folder) if _step(path) <= state.step]
    for path in (*beyond, *(path for path in earlier[keep:] if _step(path) != state.best_step)):
        shutil.rmtree(path)


def newest_checkpoint(folder: Path, *, recipe: Recipe, defaults: Recipe, step: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint of this run, or None. A damaged one is passed over with a warning.

    recipe: what this run computes; defaults: what it would if nothing was configured. step: the checkpoint after so
    many steps, and no other. Raises ValueError when the newest whole one belongs to another configuration or other
    data, or was written by a newer version.
    """
    for path in _checkpoints(folder) if step is None else [folder / f"step-{step:08d}"]:
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            damaged = [name for name, digest in manifest["files"].items() if _sha256(path / name) != digest]
        except (OSError, ValueError, KeyError) as error:
            logger.warning("checkpoint %s is passed over: %s", path.name, error)
            continue
        if damaged:
            logger.warning("checkpoint %s is passed over: %s is not what was written", path.name, ", ".join(damaged))
            continue
        return Checkpoint(path, _state_of_this_run(path, manifest, recipe, defaults), sorted(manifest["files"]))
    return None


def _state_of_this_run(path: Path, manifest: dict[str, Any], recipe: Recipe, defaults: Recipe) -> TrainState:
    version = manifest.get("format", 1)
    if version not in (1, FORMAT):
        raise ValueError(
            f"checkpoint {path.name} has format {version}, this version of gristmill reads 1 to {FORMAT}; "
            f"go on with the version that wrote it, or remove {path.parent} to start from the beginning"
        )
    if version == 1:
        other = [] if is_recipe_of_format_1(recipe, defaults, digest=manifest["run_digest"]) else ["its digest"]
    else:
        other = differences(manifest["recipe"], recipe, defaults)
    if other:
        raise ValueError(
            f"checkpoint {path.name} was written with another configuration or other inputs ({'; '.join(other)}); "
            f"restore those, or remove {path.parent} to start from the beginning"
        )
    try:
        return TrainState.model_validate(manifest["state"])
    except ValidationError as error:
        raise ValueError(
            f"checkpoint {path.name} says what this version of gristmill does not know: {error}"
        ) from error


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_to_disk(path: Path) -> None:
    """Return when a file's content, or a folder's list of names, has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
