"""The same work done in two ways gives the same loss: packed or not, accumulated or not, in bf16 or in fp32.

    python benchmarks/loss_parity.py [--data ../shared/data] [--results FILE] [--tokens 300000] [--json]

Text: the paragraphs of WikiText-2's validation file, 90 % to train on, a vocabulary of 2,048, rows of 256 tokens;
model: depth 3. One thread, CPU-seconds.

`packed`: a model trained for 40 steps reads 8 packed rows with `document_masking`, and every document of them alone, in
fp32; the largest difference of a token's loss, and that of the mean. `crossing` is the mean difference without masking,
to show that the measure sees it.
`accumulation`: 30 steps of 8 rows in one piece and in 8 pieces, fp32, AdamW and Muon with fp32 Newton–Schulz; the
largest difference of a step's loss.
`precision`: the final bits per byte of runs in bf16 and fp32 over seeds, and the 95 % interval of the mean paired
difference (Student's t). Runs that the results file holds are not repeated.
"""

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

SEQ_LEN, ROWS = 256, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, help="JSONL; runs it holds are not repeated")
    parser.add_argument("--tokens", type=int, default=300_000, help="of each run of `precision`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        prepare(arguments.data / "text" / "wikitext2_valid.txt.gz", work)
        found: dict[str, Any] = {
            "packed": packed(work),
            "accumulation": {kind: accumulation(work, kind) for kind in ("adamw", "muon")},
        }
        if arguments.seeds:
            found["precision"] = precision(work, arguments)
    if arguments.json:
        print(json.dumps(found))
        return
    for kind, values in found.items():
        print(kind, json.dumps(values))


def prepare(text: Path, work: Path) -> None:
    """Splits, tokenizer and rows below `work`, by the stages' own functions."""
    from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard
    from gristmill.tokens.config import TokenizeConfig, TrainedTokenizer
    from gristmill.tokens.pack import run_tokenize
    from gristmill.tokens.tokenizer import run_train_tokenizer

    lines = gzip.decompress(text.read_bytes()).decode().splitlines()
    paragraphs = [line.strip() for line in lines if len(line) > 100]
    rows = [{**dict.fromkeys(DOCUMENT_SCHEMA.names), **document(n, text)} for n, text in enumerate(paragraphs)]
    for split, chosen in (("train", lambda n: n % 10), ("validation", lambda n: n % 10 == 0)):
        (work / "splits" / split).mkdir(parents=True)
        mine = [row for number, row in enumerate(rows) if chosen(number)]
        write_shard(work / "splits" / split / "part-00000.parquet", mine, schema=DOCUMENT_SCHEMA)
    for name in ("tokenizer", "tokens"):
        (work / name).mkdir()
    run_train_tokenizer(work / "splits", work / "tokenizer", TrainedTokenizer(vocab_size=2048))
    run_tokenize(work / "splits", work / "tokenizer", work / "tokens", TokenizeConfig(seq_len=SEQ_LEN))


def document(number: int, text: str) -> dict[str, Any]:
    return {"doc_id": f"{number:016x}", "url": f"https://wikitext.example/{number}", "text": text, "language": "en"}


def new_trainer(work: Path, name: str, **fields: Any) -> Any:
    """A trainer of a run of its own; fields: of its configuration."""
    import torch

    from gristmill.train.config import PretrainRun
    from gristmill.train.ranks import Ranks
    from gristmill.train.trainer import Trainer

    torch.set_num_threads(1)
    config = {"batch_rows": ROWS, "micro_rows": ROWS, "precision": "fp32", "sample_every_steps": None}
    run = {
        "tokens": work / "tokens",
        "tokenizer": work / "tokenizer",
        "model": {"depth": 3},
        "config": config | {"eval_every_steps": 10_000, "checkpoint_every_s": 1e9, "log_every_steps": 1} | fields,
        "resources": {"threads": 1, "device": "cpu"},
    }
    (work / name).mkdir()
    return Trainer(PretrainRun.model_validate(run), work / name, Ranks(rank=0, world=1, device=torch.device("cpu")))


def trained(trainer: Any) -> Any:
    from gristmill.train.interrupts import StopRequest

    assert trainer.train(StopRequest())
    return trainer


def packed(work: Path) -> dict[str, float]:
    """Losses of the tokens of packed rows, against those of each document alone."""
    import torch

    from gristmill.model.documents import document_arguments

    trainer = trained(new_trainer(work, "packed", tokens=40 * ROWS * SEQ_LEN, document_masking=True))
    model, shards = trainer.model.eval(), trainer.shards
    rows = torch.from_numpy(shards.read("train", range(ROWS)))
    documents = torch.from_numpy(shards.document_ids("train", range(ROWS)))
    inputs, targets = rows[:, :-1], rows[:, 1:]
    with torch.no_grad():
        apart = document_arguments(documents[:, :-1], model.config)
        together = token_losses(model(input_ids=inputs, **apart).logits, targets)
        crossing = token_losses(model(input_ids=inputs).logits, targets)
        alone = torch.empty_like(together)
        for row in range(ROWS):
            for number in documents[row, :-1].unique():
                mine = documents[row, :-1] == number
                logits = model(input_ids=inputs[row][mine][None]).logits
                alone[row, mine] = token_losses(logits, targets[row][mine][None])[0]
    return {
        "documents": sum(len(row.unique()) for row in documents),
        "tokens": together.numel(),
        "max_token_difference": (together - alone).abs().max().item(),
        "loss_difference": abs(together.mean().item() - alone.mean().item()),
        "crossing": abs(crossing.mean().item() - alone.mean().item()),
    }


def token_losses(logits: Any, targets: Any) -> Any:
    """[B, T]: nats of each target."""
    import torch

    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), targets.flatten(), reduction="none")
    return losses.view_as(targets)


def accumulation(work: Path, kind: str) -> dict[str, float]:
    """The losses of steps of one piece of 8 rows, against 8 pieces of one."""
    from gristmill.metrics import read_metrics

    losses = []
    for size in (ROWS, 1):
        fields = {"tokens": 30 * ROWS * SEQ_LEN, "micro_rows": size, "optim": {"kind": kind, "newton_schulz": "fp32"}}
        trainer = trained(new_trainer(work, f"{kind}-{size}", **fields))
        losses.append([row["loss"] for row in read_metrics(trainer.out / "metrics.jsonl") if "loss" in row])
    return {
        "steps": len(losses[0]),
        "max_loss_difference": max(abs(whole - pieces) for whole, pieces in zip(*losses, strict=True)),
        "loss_first": losses[0][0],
        "loss_last": losses[0][-1],
    }


def precision(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Final bits per byte in bf16 less those in fp32, by seed."""
    from scipy.stats import t

    bits: dict[str, list[float]] = {"fp32": [], "bf16": []}
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for seed in range(arguments.seeds):
        for kind in bits:
            result = one_run(work, arguments, kind, seed)
            bits[kind].append(result["bits_per_byte"])
            seconds[kind].append(result["cpu_s"])
    differences = [half - whole for half, whole in zip(bits["bf16"], bits["fp32"], strict=True)]
    mean, n = statistics.mean(differences), len(differences)
    margin = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences) / n**0.5
    spread = {kind: statistics.stdev(values) for kind, values in bits.items()}
    return {
        "tokens": arguments.tokens,
        "bpb": bits,
        "difference": mean,
        "interval": [mean - margin, mean + margin],
        "spread_of_seeds": spread,
        "cpu_s": {kind: statistics.mean(values) for kind, values in seconds.items()},
    }


def one_run(work: Path, arguments: argparse.Namespace, kind: str, seed: int) -> dict[str, float]:
    point = {"precision": kind, "seed": seed, "tokens": arguments.tokens}
    done = [json.loads(line) for line in arguments.results.read_text().splitlines()] if held(arguments.results) else []
    for result in done:
        if result["point"] == point:
            return result
    trainer = new_trainer(work, f"{kind}-{seed}", **point)
    began = time.process_time()
    trained(trainer)
    result = {"point": point, "cpu_s": time.process_time() - began, "bits_per_byte": trainer.validation_bits()}
    if arguments.results:
        with arguments.results.open("a") as file:
            file.write(json.dumps(result) + "\n")
    return result


def held(results: Path | None) -> bool:
    return results is not None and results.exists()


if __name__ == "__main__":
    main()
