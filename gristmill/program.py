"""Programs that stages launch: `python -m gristmill.align.sft --config run.yaml --out DIR`.

A program reads a run file, fills DIR and writes `result.json` (a Report) last: where that stands, all else is whole.
It needs neither Prefect nor MLflow, ends with the process that started it, and uses no network unless its configuration
names an endpoint (judge, reviser or generator).
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources, Schema
from gristmill.train.interrupts import follow_parent
from gristmill.yaml import load_yaml

RESULT = "result.json"


class Run(Schema):
    """What every run file says, beside the program's own inputs and configuration."""

    resources: Resources = Resources()
    """How: threads and device."""


R = TypeVar("R", bound=Run)


def run_program(module: str, schema: type[R], compute: Callable[[R, Path], Report]) -> None:
    """The main function of a program: read the run file, compute, write result.json. Does nothing when that exists.

    Raises ValueError under torchrun with several processes: two would write the same files.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--config", type=Path, required=True, help="run file: inputs, configuration, resources")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    arguments = parser.parse_args()
    run = load_yaml(arguments.config, [], schema)
    if (arguments.out / RESULT).exists():
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"{module} computes in one process; start it without torchrun (resources.processes: 1)")
    follow_parent()
    with progress(f"{module.removeprefix('gristmill.')}: loading", total=None, unit="modules"):
        pass  # seconds of imports lie ahead: say so first
    # the first is read when torch is imported, and only then: `compute` imports it
    os.environ["OMP_NUM_THREADS"] = str(run.resources.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = compute(run, arguments.out)
    draft = arguments.out / f"{RESULT}.tmp"
    draft.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.rename(arguments.out / RESULT)
