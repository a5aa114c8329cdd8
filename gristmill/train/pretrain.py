"""The pretraining program: `python -m gristmill.train.pretrain --config run.yaml --out DIR`, alone or under torchrun.

It reads a run file (`PretrainRun`) and fills DIR with a Hugging Face model folder, metrics.jsonl and, last of all,
result.json. Killed at any moment and started again with the same arguments it goes on from the newest checkpoint and
ends with the same bits. It needs neither Prefect nor MLflow.

Exit status: 0 done (also when it was done before), 143 or 130 after SIGTERM or SIGINT (a checkpoint was written).
"""

import argparse
import logging
import os
import shutil
import sys
from pathlib import Path

from gristmill.train.config import PretrainRun
from gristmill.train.interrupts import follow_parent
from gristmill.yaml import load_yaml


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    run = load_yaml(arguments.config, [], PretrainRun)
    out: Path = arguments.out
    if (out / "result.json").exists():
        if not run.leave_checkpoints:
            shutil.rmtree(out / "checkpoints", ignore_errors=True)  # a kill may have come between the two
        return 0
    if not arguments.detached:
        follow_parent()
    if os.environ.get("RANK", "0") == "0":
        print("pretrain: starting torch", file=sys.stderr, flush=True)
    os.environ["OMP_NUM_THREADS"] = str(run.resources.threads)  # read when torch is imported, and only then
    from gristmill.train.trainer import pretrain

    out.mkdir(parents=True, exist_ok=True)
    return pretrain(run, out, profile=arguments.profile)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gristmill.train.pretrain", description="Pretrain a language model."
    )
    parser.add_argument("--config", type=Path, required=True, help="run file: inputs, configuration, resources")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill; go on with what is there")
    parser.add_argument("--detached", action="store_true", help="live on when the process that started this one ends")
    parser.add_argument("--profile", action="store_true", help="leave a trace of three steps in DIR/profile/trace.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s")
    sys.exit(main())
