"""Pretraining beside transformers' Trainer and a GPT-2 loop: quality at equal tokens, CPU time to equal quality.

    python benchmarks/pretrain_vs_peers.py --results ../peers.jsonl [--seeds 0,1,2] [--held] [--json]

The probe: text as bytes, 90/10 split, 4 layers × 192, windows of 256, 8 a step, 250 steps = 512,000 tokens. Every side
trains on the same windows in the same order, on one thread, each run in a process of its own, sides in turn. Measured
is bits per byte on all non-overlapping windows of the last tenth, in fp32, by one function for all.
`shakespeare`: tiny Shakespeare. `web`: the pages of the C4 and CCNet samples, one after the other (1.4 epochs).

- gristmill: the real program (`gristmill.train.trainer.pretrain`) on token shards of bytes, with what the dial derives.
- trainer: transformers' `Trainer` and a Llama of the same sizes; AdamW (.9, .95), weight decay .1, clipping at 1, 20
  steps of warm-up, cosine. Its learning rate is the best of `TRAINER_RATES` on Shakespeare (fp32, seed 0).
- gpt2: a loop as nanoGPT's around `GPT2LMHeadModel`: AdamW 1e-3 (.9, .95), weight decay .1 of matrices, clipping at 1,
  20 steps of warm-up, cosine to a tenth.

CPU seconds are the process's own, without imports and evaluations. `cpu_s_ratio_to_trainer_bpb` is gristmill's CPU
seconds when it first measures (every 25 steps) a bpb at or below that which the Trainer ends with, over all of the
Trainer's, same seed, corpus and precision; the mean over seeds. The learning rate has hardly decayed there: no run is
cut short to suit. `bf16_less_fp32` is gristmill's final bpb in bf16 less that in fp32, the mean over seeds and its 95 %
interval (Student's t of the paired differences). nanochat's figures were recorded once, on another busy machine; they
are not measured here.

A line of the results file is one run, and runs that it holds are not repeated. `--held`: make no run, compare what the
file holds; each number then is of the seeds that it names.
"""

import argparse
import gzip
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from byte_tokens import shakespeare, write_shards

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gristmill.tokens.reader import TokenShards

DEPTH, WIDTH, HEADS, SEQ_LEN, BATCH_ROWS, STEPS = 4, 192, 3, 256, 8, 250
TRAINER_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
MEASURED_EVERY = 25
RECORDED = {"nanochat, its own rates": 2.939, "nanochat, rates × 8, weight decay .1": 2.667}

SIDES = ("gristmill", "trainer", "gpt2")

Run = dict[str, Any]
Runs = dict[str, dict[int, Run]]
"""By side and seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, required=True, help="JSONL; runs it holds are not repeated")
    parser.add_argument("--corpora", default="shakespeare,web")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--held", action="store_true", help="compare the runs that the results file holds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(train_one(json.loads(arguments.one), arguments.data)))
        return
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    results = Results(arguments.results, arguments.data, held=arguments.held)
    found = {
        corpus: {precision: runs_of(results, corpus, precision, seeds) for precision in arguments.precisions.split(",")}
        for corpus in arguments.corpora.split(",")
    }
    tables = {f"{corpus}, {kind}": compare(runs) for corpus, kinds in found.items() for kind, runs in kinds.items()}
    summary = {
        "trainer_bpb_by_lr": {lr: run["bpb"] for lr, run in trainer_by_lr(results).items()},
        "bf16_less_fp32": {corpus: bf16_less_fp32(kinds) for corpus, kinds in found.items()},
        "recorded_bpb": RECORDED,
    }
    if arguments.json:
        print(json.dumps({**next(iter(tables.values())), **summary, "tables": tables}))
    else:
        show(tables, summary)


def runs_of(results: "Results", corpus: str, precision: str, seeds: list[int]) -> Runs:
    """All runs of one corpus in one precision."""
    by_lr = trainer_by_lr(results)
    lr = {"lr": min(by_lr, key=lambda lr: by_lr[lr]["bpb"])}
    runs: Runs = {side: {} for side in SIDES}
    for seed in seeds:
        for side in SIDES:
            run = {"side": side, "corpus": corpus, "precision": precision, "seed": seed}
            done = results.of(run | (lr if side == "trainer" else {}))
            if done:
                runs[side][seed] = done
    return runs


def trainer_by_lr(results: "Results") -> dict[float, Run]:
    tuned_on = {"side": "trainer", "corpus": "shakespeare", "precision": "fp32", "seed": 0}
    runs = {lr: results.of({**tuned_on, "lr": lr}) for lr in TRAINER_RATES}
    return {lr: run for lr, run in runs.items() if run}


def compare(runs: Runs) -> dict[str, Any]:
    bpb = {side: [run["bpb"] for run in done.values()] for side, done in runs.items()}
    both = [seed for seed in runs["gristmill"] if seed in runs["trainer"]]
    reached = {seed: reaching(runs["gristmill"][seed]["curve"], runs["trainer"][seed]["bpb"]) for seed in both}
    ratios = [cpu_s / runs["trainer"][seed]["cpu_s"] for seed, (_step, cpu_s) in reached.items()]
    return {
        "bpb": mean(bpb["gristmill"]),
        "bpb_by_seed": bpb["gristmill"],
        **{f"bpb_{side}": mean(bpb[side]) for side in ("trainer", "gpt2")},
        **{f"bpb_{side}_by_seed": bpb[side] for side in ("trainer", "gpt2")},
        "seeds": {side: list(done) for side, done in runs.items()},
        "tokens_per_cpu_s": {
            side: statistics.median(run["tokens"] / run["cpu_s"] for run in done.values())
            for side, done in runs.items()
            if done
        },
        "parameters": {side: next(iter(done.values()))["parameters"] for side, done in runs.items() if done},
        "cpu_s_ratio_to_trainer_bpb": mean(ratios),
        "cpu_s_ratio_by_seed": ratios,
        "steps_to_trainer_bpb": [step for step, _cpu_s in reached.values()],
    }


def mean(values: list[float]) -> float | None:
    return statistics.mean(values) if values else None


def bf16_less_fp32(kinds: dict[str, Runs]) -> dict[str, Any] | None:
    """Gristmill's final bpb by precision; None without two seeds in both."""
    from scipy.stats import t

    whole, half = (kinds.get(precision, {}).get("gristmill", {}) for precision in ("fp32", "bf16"))
    differences = [half[seed]["bpb"] - whole[seed]["bpb"] for seed in half if seed in whole]
    if len(differences) < 2:
        return None
    middle, n = statistics.mean(differences), len(differences)
    margin = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences) / n**0.5
    return {"by_seed": differences, "difference": middle, "interval": [middle - margin, middle + margin]}


def reaching(curve: list[tuple[int, float, float]], bpb: float) -> tuple[int, float]:
    """Step and CPU seconds of the first measurement at or below `bpb`. Raises ValueError when there is none."""
    for step, cpu_s, measured in curve:
        if measured <= bpb:
            return step, cpu_s
    raise ValueError(
        f"bits per byte never came down to {bpb:.4f}; the lowest is {min(point[2] for point in curve):.4f}"
    )


class Results:
    """Runs that are done, by what they were asked; one that is not done is made in a process of its own."""

    def __init__(self, path: Path, data: Path, *, held: bool) -> None:
        self.path, self.data, self.held = path, data, held
        lines = path.read_text().splitlines() if path.exists() else []
        self.done = {json.dumps(entry["run"]): entry["result"] for entry in map(json.loads, lines)}

    def of(self, run: Run) -> Run | None:
        """Its result; None for one that is not done when none is to be made."""
        asked = json.dumps(run)
        if asked not in self.done and not self.held:
            command = [sys.executable, __file__, "--data", str(self.data), "--results", str(self.path), "--one", asked]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            self.done[asked] = json.loads(done.stdout.splitlines()[-1])
            with self.path.open("a") as file:
                file.write(json.dumps({"run": run, "result": self.done[asked]}) + "\n")
            print(f"{asked}: {self.done[asked]['bpb']:.4f}, {self.done[asked]['cpu_s']:.0f} CPU-s", file=sys.stderr)
        return self.done.get(asked)


def train_one(run: Run, data: Path) -> Run:
    """One run in this process. Returns bpb, CPU seconds, tokens, parameters and the curve [step, CPU seconds, bpb]."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tokens = write_byte_shards(text_of(run["corpus"], data), Path(folder))
        return {"gristmill": train_gristmill, "trainer": train_trainer, "gpt2": train_gpt2}[run["side"]](run, tokens)


def text_of(corpus: str, data: Path) -> bytes:
    if corpus == "shakespeare":
        return shakespeare(data)
    pages: list[str] = []
    for name in ("c4_sample", "ccnet_en_head_0091"):
        with gzip.open(data / "text" / f"{name}.jsonl.gz", "rt") as lines:
            pages += [json.loads(line)["text"] for line in lines]
    return "\n\n".join(pages).encode()


def write_byte_shards(text: bytes, folder: Path) -> Path:
    """Token shards whose tokens are bytes, without special tokens, beside a tokenizer. Rows overlap by one byte."""
    cut, rows = len(text) * 9 // 10, {}
    for split, part in (("train", text[:cut]), ("validation", text[cut:])):
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(part, np.uint8), SEQ_LEN + 1)[::SEQ_LEN]
        rows[split] = windows.astype(np.uint16)
    # no text holds the byte 0; one digest, so that a seed means one order of rows on every corpus
    write_shards(rows, folder, token_bytes=[1] * 256, special=0, digest="0" * 64)
    return folder / "tokens"


def train_gristmill(run: Run, tokens: Path) -> Run:
    from gristmill.metrics import read_metrics
    from gristmill.train import trainer
    from gristmill.train.config import PretrainRun

    configured = PretrainRun.model_validate(
        {
            "tokens": tokens,
            "tokenizer": tokens.parent / "tokenizer",
            "model": {"depth": DEPTH, "width": WIDTH},
            "config": {
                "tokens": STEPS * BATCH_ROWS * SEQ_LEN,
                "batch_rows": BATCH_ROWS,
                "seed": run["seed"],
                "precision": run["precision"],
                "eval_every_steps": MEASURED_EVERY,
                "checkpoint_every_s": 10**6,
                **run.get("config", {}),
            },
            "resources": {"threads": 1, "device": "cpu"},
        }
    )
    evaluating, begun = 0.0, []

    def timed(self: trainer.Trainer) -> dict[str, float]:
        nonlocal evaluating
        begun.append(time.process_time() - started - evaluating)
        result = evaluate(self)
        evaluating = time.process_time() - started - begun[-1]
        return result

    evaluate, trainer.Trainer.validation_bits = trainer.Trainer.validation_bits, timed
    (out := tokens.parent / "out").mkdir()
    started = time.process_time()
    assert trainer.pretrain(configured, out) == 0
    cpu_s = time.process_time() - started - evaluating
    measured = [row for row in read_metrics(out / "metrics.jsonl") if "bits_per_byte" in row]
    curve = [(row["step"], at, row["bits_per_byte"]) for row, at in zip(measured, begun, strict=True)]
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    return {
        "bpb": metrics["bits_per_byte"],
        "cpu_s": cpu_s,
        "tokens": STEPS * BATCH_ROWS * SEQ_LEN,
        "parameters": metrics["parameters"],
        "curve": curve,
    }


def train_trainer(run: Run, tokens: Path) -> Run:
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

    from gristmill.tokens.reader import TokenShards

    shards = TokenShards(tokens)
    set_seed(run["seed"])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=WIDTH,
            intermediate_size=512,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            max_position_embeddings=SEQ_LEN + 1,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    arguments = TrainingArguments(
        output_dir=str(tokens.parent / "out"),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH_ROWS,
        train_sampling_strategy="sequential",
        learning_rate=run["lr"],
        lr_scheduler_type="cosine",
        warmup_steps=20,
        weight_decay=0.1,
        adam_beta2=0.95,
        bf16=run["precision"] == "bf16",
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        logging_steps=STEPS,
        disable_tqdm=True,
        seed=run["seed"],
    )
    # the model shifts its labels: a row of 257 bytes has the 256 targets that the other sides predict
    rows = [{"input_ids": row, "labels": row} for row in training_rows(shards, run["seed"]).reshape(-1, SEQ_LEN + 1)]
    trainer = Trainer(model, arguments, train_dataset=rows)  # pyright: ignore[reportArgumentType] - a list does as well
    return measured(model, shards, trainer.train)


def train_gpt2(run: Run, tokens: Path) -> Run:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from gristmill.tokens.reader import TokenShards

    shards = TokenShards(tokens)
    torch.manual_seed(run["seed"])
    sizes: dict[str, Any] = {"n_positions": SEQ_LEN, "n_embd": WIDTH, "n_layer": DEPTH, "n_head": HEADS}
    config = GPT2Config(vocab_size=256, **sizes, bos_token_id=0, eos_token_id=0)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    model = GPT2LMHeadModel(config)
    decayed = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    batches = torch.from_numpy(training_rows(shards, run["seed"]))

    def train() -> None:
        for step, batch in enumerate(batches):
            share = 0.1 + 0.45 * (1 + math.cos(math.pi * step / STEPS))
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(share, (step + 1) / 20)
            with torch.autocast("cpu", torch.bfloat16, enabled=run["precision"] == "bf16"):
                logits = model(input_ids=batch[:, :-1], use_cache=False).logits
            torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return measured(model, shards, train)


def training_rows(shards: "TokenShards", seed: int) -> np.ndarray:
    """The windows of all steps, as gristmill's own loader gives them: int64 [STEPS, BATCH_ROWS, SEQ_LEN + 1]."""
    from gristmill.train.loader import BatchLoader

    loader = BatchLoader(shards, batch_rows=BATCH_ROWS, seed=seed)
    return np.stack([loader.read(step) for step in range(STEPS)])


def measured(model: "PreTrainedModel", shards: "TokenShards", train: Callable[[], Any]) -> Run:
    from gristmill.evaluate.bits_per_byte import bits_per_byte

    started = time.process_time()
    train()
    cpu_s = time.process_time() - started
    return {
        "bpb": bits_per_byte(model, shards, "validation"),
        "cpu_s": cpu_s,
        "tokens": STEPS * BATCH_ROWS * SEQ_LEN,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "curve": [],
    }


def show(tables: dict[str, dict[str, Any]], summary: dict[str, Any]) -> None:
    for name, table in tables.items():
        print(name)
        for side in SIDES:
            bpb = table["bpb_by_seed" if side == "gristmill" else f"bpb_{side}_by_seed"]
            if bpb:
                by_seed = " ".join(f"{value:.3f}" for value in bpb)
                print(f"  {side:9} {mean(bpb):.3f} ({by_seed})", end="")
                print(f"  {table['tokens_per_cpu_s'][side]:,.0f} tokens per CPU-second")
        if table["cpu_s_ratio_by_seed"]:
            print(
                f"  CPU seconds to the trainer's bpb: {table['cpu_s_ratio_to_trainer_bpb']:.2f} of the trainer's",
                end="",
            )
            print(f", after {table['steps_to_trainer_bpb']} of {STEPS} steps")
    for name, value in summary.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
