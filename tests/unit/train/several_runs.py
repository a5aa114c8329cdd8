"""Runs one after another in the same processes, under torchrun: `several_runs.py RUNS.json`.

RUNS.json lists [run file, output folder, step to stop at or null, machines to pretend]. Starting a process costs
seconds, a run of a tiny model a fraction of one.
"""

import dataclasses
import json
import signal
import sys
from pathlib import Path

from gristmill.schema import Resources
from gristmill.train.config import PretrainRun
from gristmill.train.interrupts import StopRequest
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


if __name__ == "__main__":
    with joined_ranks(Resources(threads=1, device="cpu")) as together:
        run_all(json.loads(Path(sys.argv[1]).read_text()), together)
