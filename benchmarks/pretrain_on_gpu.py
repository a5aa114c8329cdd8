"""Tokens per second of pretraining on one GPU, gristmill beside transformers' Trainer and a Llama of the same sizes.

    python benchmarks/pretrain_on_gpu.py [--depth 12 --width 768] [--rows 32] [--seq-len 1024] [--steps 60] [--json]

Both sides train one Llama in bfloat16, compiled, on the same random tokens of a vocabulary of 32,768: how fast it goes
does not depend on what is read. gristmill is its real program with what it derives (Muon for the matrices); the Trainer
has `torch_compile`, fused AdamW, SDPA and TF32. Each runs in a process of its own, in turns, `--rounds` times.
The clock is the wall's, the GPU's work finished at both ends; the first third of the steps is not counted.
`mfu`: the share of what the card can do at most in bfloat16 (gristmill/train/peaks.py), of the FLOPs that gristmill
counts for a token, on both sides. `ratio`: gristmill's tokens per second over the Trainer's, the median of the rounds.
`without_muon`: gristmill with AdamW for all weights.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from byte_tokens import write_shards

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCAB_SIZE = 32_768
SIDES = ("gristmill", "without_muon", "trainer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rows", type=int, default=32, help="of a step, all in one pass")
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments)))
        return
    rounds = [{side: in_a_process(side) for side in SIDES} for _ in range(arguments.rounds)]
    rates = {side: [each[side]["tokens_per_s"] for each in rounds] for side in SIDES}
    found = {
        **{side: {**rounds[-1][side], "tokens_per_s": statistics.median(rates[side])} for side in SIDES},
        "tokens_per_s_by_round": rates,
        "ratio": statistics.median(ours / theirs for ours, theirs in zip(*by_name(rates, "gristmill"), strict=True)),
        "ratio_without_muon": statistics.median(
            ours / theirs for ours, theirs in zip(*by_name(rates, "without_muon"), strict=True)
        ),
    }
    if arguments.json:
        print(json.dumps(found))
        return
    for side in SIDES:
        one = found[side]
        peak = "" if one["mfu"] is None else f", {100 * one['mfu']:.0f} % of the card"
        print(f"{side:12} {one['tokens_per_s']:,.0f} tokens/s{peak}, {one['memory_gb']:.1f} GB, {one['parameters']:,}")
    print(f"ratio {found['ratio']:.2f}, with AdamW alone {found['ratio_without_muon']:.2f}")


def by_name(rates: dict[str, list[float]], side: str) -> tuple[list[float], list[float]]:
    return rates[side], rates["trainer"]


def in_a_process(side: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--one", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


class Clock:
    """Called after each step; counts from the first third of them on."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.steps, self.first, self.device = arguments.steps, arguments.steps // 3, arguments.device
        self.done, self.began, self.ended = 0, 0.0, 0.0

    def step(self) -> None:
        self.done += 1
        if self.done == self.first:
            self.began = self._now()
        elif self.done == self.steps:
            self.ended = self._now()

    def _now(self) -> float:
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    def tokens_per_s(self, tokens_per_step: int) -> float:
        return (self.steps - self.first) * tokens_per_step / (self.ended - self.began)


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """One side in this process."""
    import torch

    from gristmill.train.dial import facts_of_built
    from gristmill.train.utilization import flops_of_built, peak_flops

    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), Clock(arguments)
        write_random_tokens(folder, arguments)
        model = (with_trainer if arguments.one == "trainer" else with_gristmill)(arguments, folder, clock)
    rate = clock.tokens_per_s(arguments.rows * arguments.seq_len)
    on_gpu = arguments.device.startswith("cuda")
    peak = peak_flops(torch.device(arguments.device), precision="bf16")
    flops = flops_of_built(model, facts_of_built(model, seq_len=arguments.seq_len))
    return {
        "tokens_per_s": rate,
        "mfu": rate * flops / peak if peak else None,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "card": torch.cuda.get_device_name() if on_gpu else "none",
        "torch": torch.__version__,
    }


def write_random_tokens(folder: Path, arguments: argparse.Namespace) -> None:
    draws = np.random.default_rng(0)
    rows = {"train": arguments.rows * arguments.steps, "validation": arguments.rows}
    parts = {
        split: draws.integers(1, VOCAB_SIZE, (count, arguments.seq_len + 1), dtype=np.uint16)
        for split, count in rows.items()
    }
    write_shards(parts, folder, token_bytes=[0] + [1] * (VOCAB_SIZE - 1), special=0, digest="0" * 64)


def with_gristmill(arguments: argparse.Namespace, folder: Path, clock: Clock) -> "PreTrainedModel":
    from gristmill.train.config import PretrainRun
    from gristmill.train.interrupts import StopRequest
    from gristmill.train.ranks import joined_ranks
    from gristmill.train.trainer import Trainer

    run = PretrainRun.model_validate(
        {
            "tokens": folder / "tokens",
            "tokenizer": folder / "tokenizer",
            "model": {"family": "llama", "depth": arguments.depth, "width": arguments.width},
            "config": {
                "tokens": arguments.steps * arguments.rows * arguments.seq_len,
                "batch_rows": arguments.rows,
                "micro_rows": arguments.rows,
                "precision": "bf16",
                "eval_every_steps": 10**6,
                "sample_every_steps": None,
                "checkpoint_every_s": 10**6,
                "optim": {"kind": "adamw" if arguments.one == "without_muon" else "muon"},
            },
            "resources": {"threads": 4, "device": arguments.device},
        }
    )
    (folder / "out").mkdir()
    with joined_ranks(run.resources) as ranks:
        trainer = Trainer(run, folder / "out", ranks)
        trainer.train(StopRequest(), after_step=clock.step)
        return trainer.model


def with_trainer(arguments: argparse.Namespace, folder: Path, clock: Clock) -> "PreTrainedModel":
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from gristmill.model.build import build_model
    from gristmill.model.config import ModelConfig

    tokens = torch.from_numpy(np.load(folder / "tokens" / "train" / "tokens-00000.npy").astype("int64"))
    shape = ModelConfig.model_validate({"family": "llama", "depth": arguments.depth, "width": arguments.width})
    special = dict.fromkeys(("bos_id", "eos_id", "pad_id"), 0)
    model = build_model(shape, vocab_size=VOCAB_SIZE, max_seq_len=arguments.seq_len + 1, seed=0, **special)
    settings = TrainingArguments(
        output_dir=str(folder / "out"),
        max_steps=arguments.steps,
        per_device_train_batch_size=arguments.rows,
        learning_rate=1e-3,
        optim="adamw_torch_fused",
        bf16=True,
        tf32=arguments.device.startswith("cuda"),
        torch_compile=True,
        use_cpu=not arguments.device.startswith("cuda"),
        dataloader_num_workers=2,
        save_strategy="no",
        report_to="none",
        logging_steps=10,
        disable_tqdm=True,
    )

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step()

    # the model shifts its labels, so a row of one token more has as many targets as gristmill's
    rows: Any = [{"input_ids": row, "labels": row} for row in tokens]
    Trainer(model, settings, train_dataset=rows, callbacks=[Steps()]).train()
    return model


if __name__ == "__main__":
    main()
