"""DPO pairs per CPU-second: gristmill against TRL, same model, adapter, pairs in the same order, batch and precision.

    .venv/bin/python benchmarks/dpo_vs_trl.py --model FOLDER --json

FOLDER: SmolLM2-135M-Instruct (docs/adapting.md). Pairs are the first of HH-RLHF about harm with at most `--tokens`
tokens. One process, one thread, LoRA of rank 16, bfloat16, batches of 8. The sides take turns, training by training,
each from the same start: the reference's log-probabilities and one pass over the pairs. TRL takes them tokenized, and
has the rest as its documentation gives it, without gradient checkpointing.

`pairs_per_cpu_s`: medians over rounds. `ratio_trl`: the median of the rounds' ratios, with the smallest and largest.
`loss`: mean of the last four steps of each side, which must be alike.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig as TrlConfig
from trl import DPOTrainer

from gristmill.align import trl_adapter
from gristmill.align.adapter_config import Adapter
from gristmill.align.adapters import peft_config
from gristmill.align.config import DpoConfig
from gristmill.align.data import read_pairs
from gristmill.align.dpo_trainer import PairTrainer, pairs_dataset
from gristmill.align.rows import encode_pairs
from gristmill.align.rows_config import FileRows
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import completion_logps

CPU = torch.device("cpu")
LAST_STEPS = 4


class TokenizedTrainer(DPOTrainer):
    """TRL's own, but for turning text into tokens."""

    def _prepare_dataset(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    pairs = _pairs(arguments)
    sides = {"gristmill": ours, "trl": trls}
    runs = [{name: train(arguments.model, pairs) for name, train in sides.items()} for _ in range(arguments.rounds)]
    ratios = [run["trl"][0] / run["gristmill"][0] for run in runs]
    found = {
        "pairs": len(pairs),
        "tokens_per_pair": {
            "prompt": mean(len(pair.prompt) for pair in pairs),
            "answers": mean(sum(map(len, pair.completions)) for pair in pairs),
        },
        "rounds": arguments.rounds,
        "pairs_per_cpu_s": {name: len(pairs) / median(run[name][0] for run in runs) for name in sides},
        "loss": {name: median(run[name][1] for run in runs) for name in sides},
        "ratio_trl": median(ratios),
        "ratio_trl_range": [min(ratios), max(ratios)],
    }
    if arguments.json:
        print(json.dumps(found))
        return
    for name, rate in found["pairs_per_cpu_s"].items():
        print(f"{name:10} {rate:.2f} pairs per CPU-second, loss {found['loss'][name]:.3f}")
    print(f"ratio      {found['ratio_trl']:.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {arguments.rounds} rounds)")


def ours(folder: Path, pairs: list[Branches]) -> tuple[float, float]:
    """CPU-seconds and the loss at the end."""
    policy, tokenizer = _loaded(folder)
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):  # as the stage does it
        reference = np.array(completion_logps(policy, pairs))
    with tempfile.TemporaryDirectory() as out:
        trainer = PairTrainer(
            policy,
            _config(),
            args=_settings(Path(out), precompute_ref_log_probs=True),
            train_dataset=pairs_dataset(pairs, reference),
            processing_class=tokenizer,
            peft_config=peft_config(Adapter(), "answers"),
        )
        return _trained(trainer, started)


def trls(folder: Path, pairs: list[Branches]) -> tuple[float, float]:
    """The same of TRL's, which asks the reference, the model without its adapter, at each step."""
    policy, tokenizer = _loaded(folder)
    rows = {
        "prompt_ids": [pair.prompt for pair in pairs],
        "chosen_ids": [pair.completions[0] for pair in pairs],
        "rejected_ids": [pair.completions[1] for pair in pairs],
        "length": [pair.length for pair in pairs],
    }
    started = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        trainer = TokenizedTrainer(
            policy,
            args=_settings(Path(out), beta=_config().beta),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
            peft_config=peft_config(Adapter(), "answers"),
        )
        return _trained(trainer, started)


def _trained(trainer: DPOTrainer, started: float) -> tuple[float, float]:
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return time.process_time() - started, mean(losses[-LAST_STEPS:])


def _config() -> DpoConfig:
    return DpoConfig(adapter=Adapter(), lr=5e-4, batch_rows=8, micro_rows=8, precision="bf16", log_every_steps=1)


def _settings(out: Path, **more: Any) -> TrlConfig:
    return trl_adapter.trainer_arguments(TrlConfig, _config(), out, CPU, **more)


def _pairs(arguments: argparse.Namespace) -> list[Branches]:
    source = FileRows(paths=[str(arguments.data / "preference/hh_harmless_base.jsonl.gz")], license="MIT")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, local_files_only=True)
    return encode_pairs(tokenizer, read_pairs(source, None).train, max_tokens=arguments.tokens)[0][: arguments.pairs]


def _loaded(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--pairs", type=int, default=64, help="how many are learned")
    parser.add_argument("--tokens", type=int, default=256, help="of the longer answer with its prompt, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
