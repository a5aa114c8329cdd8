"""Two processes (gloo) against one: the losses of 50 steps in float32, for DDP and FSDP2; what bfloat16 in Muon costs.

    python benchmarks/parallel_parity.py --results ../parity.jsonl [--seeds 0,1,2] [--json]

Shakespeare's bytes, windows of 128, 8 a step; a dense model and a mixture of experts, 2 layers × 64. One process sends
8 rows through the model at once and each of two 4, so that all sums are made in another order; `accumulated` is one
process with micro-batches of 4, as each of the two has: the yardstick, whose bits both layouts give. Optimizers: AdamW
for all weights; Muon whose Newton-Schulz iteration runs in float32 (the parity switch `optim.newton_schulz`); Muon with
bfloat16, the default, which is `torch.optim.Muon` bit by bit where a weight is one matrix. There, a last digit decides
how a number is rounded, so the losses part. Whether that matters is the last part: bits per byte of whole runs that
differ in nothing but that precision, and the mean of their differences over seeds with its 95 % interval (Student's t).

With experts, a last digit may send a token to another expert, and then the losses part at once, in whatever precision.
`same_routing` says for how many steps every expert of both runs got equally many tokens (their use is logged at every
step), and the largest difference until then; `loss_difference` is over all steps.

A line of the results file is one run, and runs that it holds are not repeated. Some 5 CPU minutes.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from byte_tokens import shakespeare, write_byte_tokens

SEQ_LEN, ROWS, STEPS, LONG_STEPS = 128, 8, 50, 400
MODELS = {
    "dense": {"depth": 2, "width": 64, "head_dim": 32},
    "moe": {"family": "qwen3_moe", "depth": 2, "width": 64, "head_dim": 32, "experts": 8, "experts_per_token": 2},
}
OPTIMIZERS = {
    "adamw": {"kind": "adamw"},
    "muon_fp32": {"newton_schulz": "fp32"},
    "muon_bf16": {"newton_schulz": "bf16"},
}
ALONE, TOGETHER = ("one", "accumulated"), ("ddp", "fsdp")
Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, required=True, help="JSONL; runs it holds are not repeated")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        compute(json.loads(arguments.child.read_text()), arguments.data, arguments.results)
        return
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    short = [
        {"model": model, "optimizer": optimizer, "layout": layout, "steps": STEPS, "seed": 0}
        for model in MODELS
        for optimizer in OPTIMIZERS
        for layout in ALONE + TOGETHER
    ]
    long = [
        {"model": "dense", "optimizer": optimizer, "layout": "one", "steps": LONG_STEPS, "seed": seed}
        for optimizer in ("muon_fp32", "muon_bf16")
        for seed in seeds
    ]
    for processes in (1, 2):
        start([run for run in short + long if (run["layout"] in ALONE) == (processes == 1)], processes, arguments)
    found = finished(arguments.results)
    differences, same_routing = {}, {}
    for model in MODELS:
        for optimizer in OPTIMIZERS:
            by_layout = {
                layout: found[key({**short[0], "model": model, "optimizer": optimizer, "layout": layout})]
                for layout in ALONE + TOGETHER
            }
            for alone, other in itertools.product(ALONE, TOGETHER):
                name, (this, that) = f"{model} {optimizer} {other} / {alone}", (by_layout[alone], by_layout[other])
                gaps = [abs(one - two) for one, two in zip(this["losses"], that["losses"], strict=True)]
                differences[name] = max(gaps)
                if model == "moe":
                    pairs = zip(this["expert_entropy"], that["expert_entropy"], strict=True)
                    steps = next((step for step, (one, two) in enumerate(pairs) if one != two), STEPS)
                    same_routing[name] = {"steps": steps, "loss_difference": max(gaps[:steps], default=0.0)}
    bits = {
        optimizer: [found[key({**long[0], "optimizer": optimizer, "seed": seed})]["bpb"] for seed in seeds]
        for optimizer in ("muon_fp32", "muon_bf16")
    }
    summary = {
        "loss_difference": differences,
        "within_1e-5": {name: value <= 1e-5 for name, value in differences.items()},
        "same_routing": same_routing,
        "bpb_by_seed": bits,
        "bpb_bf16_minus_fp32": interval(
            [bf16 - fp32 for bf16, fp32 in zip(bits["muon_bf16"], bits["muon_fp32"], strict=True)]
        ),
    }
    print(json.dumps(summary) if arguments.json else json.dumps(summary, indent=2))


def interval(differences: list[float]) -> dict[str, float]:
    """Mean with its 95 % interval."""
    from scipy.stats import t

    mean = statistics.mean(differences)
    half = float(t.ppf(0.975, len(differences) - 1)) * statistics.stdev(differences) / math.sqrt(len(differences))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def key(run: Run) -> str:
    return " ".join(str(run[name]) for name in ("model", "optimizer", "layout", "steps", "seed"))


def finished(results: Path) -> dict[str, Run]:
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    return {key(row): row for row in rows}


def start(runs: list[Run], processes: int, arguments: argparse.Namespace) -> None:
    """Compute the runs that are missing, one after another in the same processes: starting those takes longest."""
    missing = [run for run in runs if key(run) not in finished(arguments.results)]
    if not missing:
        return
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(missing))
        file.flush()
        places = ["--data", str(arguments.data), "--results", str(arguments.results)]
        subprocess.run([sys.executable, *torchrun, __file__, "--child", file.name, *places], check=True)


def compute(runs: list[Run], data: Path, results: Path) -> None:
    from gristmill.metrics import read_metrics
    from gristmill.report import Report
    from gristmill.schema import Resources
    from gristmill.train.config import PretrainRun
    from gristmill.train.interrupts import StopRequest
    from gristmill.train.ranks import joined_ranks
    from gristmill.train.trainer import Trainer

    with (
        tempfile.TemporaryDirectory(prefix="parity-") as name,
        joined_ranks(Resources(threads=1, device="cpu")) as ranks,
    ):
        folder = Path(ranks.from_main(name))
        if ranks.is_main:
            write_byte_tokens(shakespeare(data), folder, seq_len=SEQ_LEN)
        ranks.wait()
        for number, run in enumerate(runs):
            out = folder / str(number)
            out.mkdir(exist_ok=True)
            layout = {} if run["layout"] in ALONE else {"parallel": run["layout"]}
            trainer = Trainer(
                PretrainRun.model_validate(
                    {
                        "tokens": folder / "tokens",
                        "tokenizer": folder / "tokenizer",
                        "model": MODELS[run["model"]],
                        "config": {
                            "tokens": run["steps"] * ROWS * SEQ_LEN,
                            "batch_rows": ROWS,
                            "micro_rows": ROWS // 2 if run["layout"] == "accumulated" else ROWS,
                            "precision": "fp32",
                            "optim": OPTIMIZERS[run["optimizer"]],
                            "seed": run["seed"],
                            "log_every_steps": 1,
                            "eval_every_steps": 10_000,
                            "checkpoint_every_s": 10_000,
                        },
                        "resources": {"threads": 1, "device": "cpu", **layout},
                    }
                ),
                out,
                ranks,
            )
            assert trainer.train(StopRequest())
            trainer.finish()
            if ranks.is_main:
                rows = [row for row in read_metrics(out / "metrics.jsonl") if "loss" in row]
                measured = {
                    "losses": [row["loss"] for row in rows],
                    "expert_entropy": [row.get("expert_entropy") for row in rows],
                }
                bpb = Report.model_validate_json((out / "result.json").read_text()).metrics["bits_per_byte"]
                with results.open("a") as file:
                    file.write(json.dumps({**run, **measured, "bpb": bpb}) + "\n")
            ranks.wait()


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
