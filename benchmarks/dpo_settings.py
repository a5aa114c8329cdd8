"""Which settings of DPO suit SmolLM2-135M-Instruct: compared on pairs that alignment.py does not measure on.

    .venv/bin/python benchmarks/dpo_settings.py --model FOLDER --results FILE [--only wide_step] [--json]

FOLDER: SmolLM2-135M-Instruct (docs/adapting.md). Pairs are rasbt's, with settings named `hh_…` those of HH-RLHF about
harm, of at most 256 tokens. Those whose prompt alignment.py holds out are left alone. Of the others a third, by a hash
of the prompt, are the validation split; of the rest the first `pairs` train. Settings whose row stands in FILE already
are not tried again. `reward_accuracy`: share of validation pairs whose chosen answer gained more; `preferred`: share
whose chosen answer is likelier per token, and its change.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment import PAIRS_HELD_OUT, read
from quickstart_arms import difference

from gristmill.align import formats
from gristmill.align.adapter_config import Adapter
from gristmill.align.config import DpoConfig
from gristmill.align.data import is_held_out
from gristmill.align.dpo import run_dpo
from gristmill.align.rows_config import FileRows
from gristmill.schema import Resources

VALIDATION = 0.6  # prompts from there down to what alignment.py holds out
SETTINGS: dict[str, dict[str, Any]] = {
    "small_step": {"pairs": 198, "lr": 2e-4},
    "wide_step": {"pairs": 198, "lr": 5e-4},
    "all_weights": {"pairs": 198, "lr": 5e-6, "adapter": None},
    "chosen_too": {"pairs": 198, "lr": 3e-4, "chosen_nll_weight": 1.0},
    "two_passes": {"pairs": 198, "lr": 2e-4, "epochs": 2},
    "more_pairs": {"pairs": 396, "lr": 2e-4},
    "more_pairs_wide": {"pairs": 396, "lr": 5e-4},
    "more_pairs_two_passes": {"pairs": 396, "lr": 2e-4, "epochs": 2},
    "more_pairs_chosen_too": {"pairs": 396, "lr": 3e-4, "chosen_nll_weight": 1.0},
    "hh_two_passes": {"lr": 5e-4, "epochs": 2},
    "hh_per_token": {"lr": 5e-4, "epochs": 2, "length_normalized": True, "beta": 5.0},
    "hh_small_beta": {"lr": 5e-4, "epochs": 2, "beta": 0.02},
    "hh_wide_step": {"lr": 1e-3, "epochs": 2},
}


def main() -> None:
    arguments = _arguments()
    done = [row for row in read(arguments.results) if row.get("device", "cpu") == arguments.device]
    for name in arguments.only:
        if any(row["setting"] == name for row in done):
            continue
        started = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = _tried(arguments, name, Path(folder))
        cpu_s = time.process_time() - started
        done.append({"setting": name, **SETTINGS[name], **found, "cpu_s": cpu_s, "device": arguments.device})
        with arguments.results.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    if arguments.json:
        print(json.dumps(done))
        return
    for row in done:
        print(
            f"{row['setting']:12} {row['reward_accuracy']:.3f} [{row['reward_accuracy_ci_low']:.3f}, "
            f"{row['reward_accuracy_ci_high']:.3f}], preferred {row['preferred']:.3f} ({row['difference']:+.3f} "
            f"[{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]), ln p of chosen {row['chosen_logp_change']:+.2f}, "
            f"n = {row['n']}, {row['cpu_s']:.0f} CPU-seconds"
        )


def _tried(arguments: argparse.Namespace, name: str, folder: Path) -> dict[str, Any]:
    training = dict(SETTINGS[name])
    file, training["max_tokens"] = ("hh_harmless_base", 256) if name.startswith("hh_") else ("rasbt_preference", None)
    pairs = _pairs(arguments.data / f"preference/{file}.jsonl.gz", folder, train=training.pop("pairs", None))
    shared = {"adapter": Adapter(), "batch_rows": 8, "micro_rows": 8, "precision": "bf16", "seed": arguments.seed}
    config = DpoConfig(data=pairs, **shared | training)
    report = run_dpo(arguments.model, None, None, folder, config, Resources(threads=1, device=arguments.device))
    return {
        "reward_accuracy": report.metrics["held_out_reward_accuracy"],
        "reward_accuracy_ci_low": report.metrics["held_out_reward_accuracy_ci_low"],
        "reward_accuracy_ci_high": report.metrics["held_out_reward_accuracy_ci_high"],
        "preferred": report.metrics["held_out_preferred"],
        **difference(report, "held_out_preferred_change"),
        "chosen_logp_change": report.metrics["chosen_logp_change"],
        "n": report.details["held_out_pairs"],
    }


def _pairs(path: Path, folder: Path, *, train: int | None) -> FileRows:
    """All validation pairs and the first that train; None: all that do."""
    kept, training = [], 0
    with gzip.open(path, "rt") as file:
        for number, line in enumerate(file, start=1):
            pair = formats.pair(json.loads(line), f"row {number}")
            if isinstance(pair, str) or is_held_out(pair.prompt, PAIRS_HELD_OUT):
                continue
            trains = not is_held_out(pair.prompt, VALIDATION)
            training += trains
            if not trains or train is None or training <= train:
                kept.append(line)
    (folder / "pairs.jsonl").write_text("".join(kept))
    return FileRows(paths=[str(folder / "pairs.jsonl")], held_out=VALIDATION)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of SmolLM2-135M-Instruct")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines of settings tried; gone on with")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    return parser.parse_args()


if __name__ == "__main__":
    main()
