"""Runs one after another in the same processes, under torchrun: `several_runs.py RUNS.json`.

First it asserts that Muon gives the same bits however its weights lie. RUNS.json lists [run file, output folder, step
to stop at or null, machines to pretend]. Starting a process costs seconds, a run of a tiny model a fraction of one.
"""

import dataclasses
import json
import signal
import sys
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from gristmill.schema import Resources
from gristmill.train.config import PretrainRun
from gristmill.train.interrupts import StopRequest
from gristmill.train.muon import Muon
from gristmill.train.parallel import whole
from gristmill.train.ranks import joined_ranks
from gristmill.train.trainer import Trainer


class StopAt(StopRequest):
    """Asks to stop when so many steps are done."""

    def __init__(self, trainer: Trainer, step: int | None) -> None:
        self.trainer, self.step = trainer, step

    @property
    def signal_number(self):
        return signal.SIGTERM if self.trainer.state.step == self.step else None


def run_all(runs: list, ranks) -> None:
    for config, out, stop_at, nodes in runs:
        run = PretrainRun.model_validate_json(Path(config).read_text())
        Path(out).mkdir(exist_ok=True)
        trainer = Trainer(run, Path(out), dataclasses.replace(ranks, nodes=nodes))
        if trainer.train(StopAt(trainer, stop_at)):
            trainer.finish()


def check_bits_of_muon(world: int) -> None:
    """Three steps on plain weights, on weights that all processes hold, and on weights cut among them."""
    mesh = init_device_mesh("cpu", (world,))
    shapes = [(16, 24), (16, 24), (16, 24), (24, 16), (7, 9), (5, 6, 8), (6, 8, 4)]
    for precision in (torch.float32, torch.bfloat16):
        results = []
        for lying in ("plain", "copied", "cut"):
            draws = torch.Generator().manual_seed(0)

            def new(shape: tuple, lying: str = lying, draws: torch.Generator = draws) -> torch.Tensor:
                drawn = torch.randn(shape, generator=draws)
                return distribute_tensor(drawn, mesh, [Shard(0)]) if lying == "cut" else drawn

            weights = [torch.nn.Parameter(new(shape)) for shape in shapes]
            shared = mesh if lying == "copied" else None
            muon = Muon(weights, lr=0.02, momentum=0.95, weight_decay=0.1, newton_schulz=precision, mesh=shared)
            for _ in range(3):
                for weight, shape in zip(weights, shapes, strict=True):
                    weight.grad = new(shape)
                muon.step()
            results.append([whole(weight.detach()) for weight in weights])
        for plain, copied, cut in zip(*results, strict=True):
            assert torch.equal(plain, copied)
            assert torch.equal(plain, cut)


if __name__ == "__main__":
    with joined_ranks(Resources(threads=1, device="cpu")) as together:
        check_bits_of_muon(together.world)
        run_all(json.loads(Path(sys.argv[1]).read_text()), together)
