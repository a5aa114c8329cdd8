"""Online alignment on a task that can be checked: sums of two numbers below 100, greedy answers before and after.

    .venv/bin/python benchmarks/alignment.py --model FOLDER --results FILE [--only grpo] [--seeds 0] [--json]

FOLDER: SmolLM2-135M-Instruct as the stage `open_model` writes it (docs/adapting.md). The prompt shows two solved sums.
A reward of 1 for the right number and .1 for digits alone, so that learning the format and learning to add are told
apart; `random_reward` is the control arm: the same run with noise for a reward. The share of right answers to 96
held-out sums is compared, paired by prompt. Runs whose rows stand in FILE already are not made again. About
140 CPU-seconds each.

Supervised fine-tuning, reward models and DPO are not part of it yet.
"""

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from gristmill.align.online.config import (
    ExactReward,
    GrpoConfig,
    MonitorConfig,
    OnlineConfig,
    PatternReward,
    PpoConfig,
    RandomReward,
)
from gristmill.align.online.prompts_config import JsonlPrompts
from gristmill.align.online.run import run_online
from gristmill.schema import Resources

ARMS = ("grpo", "ppo", "random_reward")
SUMS = 1200
HELD_OUT = 96


def main() -> None:
    arguments = _arguments()
    done = _read(arguments.results)
    for arm in arguments.only:
        for seed in arguments.seeds:
            if not any(row["arm"] == arm and row["seed"] == seed for row in done):
                done.append(_run(arguments.model, arm, seed))
                with arguments.results.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    found = {arm: _summary([row for row in done if row["arm"] == arm]) for arm in ARMS}
    if arguments.json:
        print(json.dumps(found))
        return
    for arm, row in found.items():
        if row:
            print(
                f"{arm:14} {row['before']:.3f} → {row['after']:.3f}, {row['difference']:+.3f} "
                f"[{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], n = {row['n']}, seeds {row['seeds']}"
            )


def _run(model: Path, arm: str, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        rows, out = Path(folder) / "sums.jsonl", Path(folder) / "out"
        rows.write_text("".join(json.dumps(row) + "\n" for row in sums()))
        out.mkdir()
        started = time.process_time()
        report = run_online(model, None, None, out, _config(arm, rows, seed), Resources(threads=1, device="cpu"))
        samples = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    exact = [
        row["held_out_reward_exact" if arm != "random_reward" else "held_out_judge"]
        for row in samples
        if "held_out_reward" in row
    ]
    name = "held_out_exact_change" if arm != "random_reward" else "held_out_judge_change"
    return {
        "arm": arm,
        "seed": seed,
        "before": exact[0],
        "after": exact[-1],
        "difference": report.metrics[name],
        "ci_low": report.metrics[f"{name}_ci_low"],
        "ci_high": report.metrics[f"{name}_ci_high"],
        "n": report.details["held_out_prompts"],
        "cpu_s": time.process_time() - started,
    }


def sums() -> list[dict[str, str]]:
    """Distinct sums with their results."""
    draw, pairs = random.Random(0), set()
    while len(pairs) < SUMS:
        pairs.add((draw.randint(10, 99), draw.randint(10, 99)))
    return [{"sum": f"{a} + {b} = ", "result": str(a + b)} for a, b in sorted(pairs)]


def _config(arm: str, rows: Path, seed: int) -> OnlineConfig:
    right: list[Any] = [ExactReward(), PatternReward(pattern=r"\d+", weight=0.1)]
    control = arm == "random_reward"
    return (PpoConfig if arm == "ppo" else GrpoConfig)(
        prompts=JsonlPrompts(path=rows, prompt="{sum}", reference="{result}"),
        chat=False,
        few_shot=2,
        stop="\n",
        rewards=[RandomReward()] if control else right,
        # the control arm's answers are judged by what it is not paid for, and nothing stops it
        monitors=MonitorConfig(judge=[ExactReward()] if control else [], max_kl=None, max_repetition=1.0),
        steps=30,
        max_new_tokens=6,
        lr=1e-5,
        held_out_prompts=HELD_OUT,
        seed=seed,
    )


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Means over seeds; with one seed its own interval, else the t interval of the seeds' differences."""
    if not rows:
        return None
    import numpy as np
    from scipy import stats

    mean = {name: float(np.mean([row[name] for row in rows])) for name in ("before", "after", "difference")}
    low, high = rows[0]["ci_low"], rows[0]["ci_high"]
    if len(rows) > 1:
        differences = [row["difference"] for row in rows]
        low, high = stats.t.interval(0.95, len(rows) - 1, loc=mean["difference"], scale=stats.sem(differences))
    return {**mean, "ci_low": float(low), "ci_high": float(high), "n": rows[0]["n"], "seeds": len(rows)}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines of finished runs; gone on with")
    parser.add_argument("--only", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
