"""Running a trainer in a test: to its end, or to a stop before some step."""

import hashlib
import signal
from pathlib import Path

import torch
from torch import Tensor

from gristmill.metrics import read_metrics
from gristmill.train.config import PretrainRun
from gristmill.train.interrupts import StopRequest
from gristmill.train.ranks import Ranks
from gristmill.train.trainer import Trainer

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))


class StopBefore(StopRequest):
    """Asks to stop when the loop has looked this often: before that step."""

    def __init__(self, step: int) -> None:
        self.looks_left = step

    @property
    def signal_number(self):
        self.looks_left -= 1
        return signal.SIGTERM if self.looks_left < 0 else None


def started(run: PretrainRun, out: Path) -> Trainer:
    """A trainer that begins, or goes on from what is there."""
    out.mkdir(exist_ok=True)
    return Trainer(run, out, ALONE)


def finished(run: PretrainRun, out: Path) -> str:
    """Digest of the weights at the end."""
    trainer = started(run, out)
    assert trainer.train(StopRequest())
    trainer.finish()
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


def logged(out: Path, name: str) -> list:
    """All values of one name in metrics.jsonl."""
    return [row[name] for row in read_metrics(out / "metrics.jsonl") if name in row]


def weights_of(trainer: Trainer) -> list[Tensor]:
    return [weight.detach().clone() for weight in trainer.model.parameters()]
