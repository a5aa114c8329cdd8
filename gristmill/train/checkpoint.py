"""Checkpoints that are either whole or not there: `checkpoints/step-00000120/` with safetensors and a manifest.

Weights and optimizer state are plain tensors by name, never pickled. Nothing else has to be kept: the order of rows
and the learning rate are functions of the step, and training draws no random numbers.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import safetensors.torch
from pydantic import ValidationError
from torch import Tensor

from gristmill.schema import Schema
from gristmill.train.early_stop import BestState
from gristmill.train.guards import GuardState

logger = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back to."""
MANIFEST = "state.json"


class TrainState(Schema):
    """How far a run is."""

    step: int = 0
    """Optimizer steps done, skipped ones included."""
    tokens: int = 0
    """Tokens predicted so far."""
    skipped_steps: int = 0
    """Steps that the weights owe nothing to: their loss spiked or was not finite, or they were undone."""
    loss: float = 0.0
    """Nats per token of the last step."""
    guard: GuardState = GuardState()
    """What the guards against spikes remember."""
    best: BestState = BestState()
    """Where validation was best, of a run that may end early."""
    recent_nats: float = 0.0
    """Summed over the targets of the steps since the last validation."""
    recent_bytes: int = 0
    """Of text, of those targets."""


class Manifest(Schema):
    """`state.json` of a checkpoint."""

    state: TrainState
    run_digest: str
    """Digest of the configuration and the inputs: only the same run may go on from here."""
    files: dict[str, str]
    """Name of the file → sha256."""


def save_checkpoint(
    folder: Path, state: TrainState, *, run_digest: str, weights: dict[str, Tensor], optimizer: dict[str, Tensor]
) -> Path:
    """Write `folder/step-N`, then remove all but the newest two. A crash at any moment leaves the older ones."""
    final = folder / f"step-{state.step:08d}"
    draft = folder / ".draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, tensors in (("model.safetensors", weights), ("optimizer.safetensors", optimizer)):
        on_cpu = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        safetensors.torch.save_file(on_cpu, draft / name)
    files = {path.name: _sha256(path) for path in sorted(draft.iterdir())}
    manifest = Manifest(state=state, run_digest=run_digest, files=files)
    (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    for path in (*draft.iterdir(), draft):
        sync_to_disk(path)
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    sync_to_disk(folder)
    for old in _checkpoints(folder)[KEPT:]:
        shutil.rmtree(old)
    return final


def newest_checkpoint(folder: Path, *, run_digest: str, step: int | None = None) -> tuple[Path, TrainState] | None:
    """The newest whole checkpoint of this run, or None. A damaged one is passed over with a warning.

    step: the one after so many steps, and no other.
    Raises ValueError when the newest whole one belongs to another configuration or other data.
    """
    for path in _checkpoints(folder) if step is None else [folder / f"step-{step:08d}"]:
        try:
            manifest = Manifest.model_validate_json((path / MANIFEST).read_text(encoding="utf-8"))
            damaged = [name for name, digest in manifest.files.items() if _sha256(path / name) != digest]
        except (OSError, ValidationError) as error:
            logger.warning("checkpoint %s is passed over: %s", path.name, error)
            continue
        if damaged:
            logger.warning("checkpoint %s is passed over: %s is not what was written", path.name, ", ".join(damaged))
            continue
        if manifest.run_digest != run_digest:
            raise ValueError(
                f"checkpoint {path.name} was written with another configuration or other inputs; "
                f"restore those, or remove {path.parent} to start from the beginning"
            )
        return path, manifest.state
    return None


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and optimizer state of a checkpoint, on the CPU."""
    return safetensors.torch.load_file(path / "model.safetensors"), safetensors.torch.load_file(
        path / "optimizer.safetensors"
    )


def digest_of(*facts: object) -> str:
    """sha256 of JSON-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


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
