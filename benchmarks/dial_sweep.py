"""What learning rates and batches small models want: the runs that the dial's rules were fitted to.

    python benchmarks/dial_sweep.py --work ../dial-sweep --results ../dial-sweep/results.jsonl [--grids batch] [--json]

Text: the documentation of the Python packages in .venv, through ingest, extract, split, a vocabulary of 4,096 and rows
of 256 tokens, written once below `--work`. Every run is `gristmill.train.trainer.pretrain` with all values given, in
bf16 on one thread, one seed unless stated. A line of the results file is one run; runs that it holds are not repeated,
so a sweep can be stopped, go on, and grow. `rates` multiplies all four learning rates of `BASE`.

Grids: `roles` (one setting at a time at depth 2), `batch` (rows × rates at depth 2, at two budgets), `depth` (rates at
depths 1, 4 and 6), `seeds` (the spread of a repeated run).
"""

import argparse
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Point = dict[str, Any]

BASE = {"lr_matrix": 0.02, "lr_embedding": 0.1, "lr_head": 0.003, "lr_norm": 0.003}
ONE_AT_A_TIME: dict[str, tuple[float, ...]] = {
    "lr_head": (0.012, 0.024, 0.003),
    "lr_matrix": (0.08, 0.02),
    "lr_norm": (0.02,),
    "decay_ratio": (1.0, 0.4),
    "warmup_steps": (5,),
    "lr_embedding": (0.1, 0.4),
    "weight_decay": (0.1,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for token shards")
    parser.add_argument("--results", type=Path, required=True, help="JSONL; runs it holds are not repeated")
    parser.add_argument("--grids", default="roles,batch,depth,seeds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    tokens = prepared(arguments.work)
    wanted = [point for name in arguments.grids.split(",") for point in GRIDS[name]()]
    for point in wanted:
        if point not in [result["point"] for result in read(arguments.results)]:
            result: Point = {"point": point, **measure(point, tokens, arguments.work / "tokenizer")}
            with arguments.results.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)
    if arguments.json:
        done = [result for result in read(arguments.results) if result["point"] in wanted]
        print(json.dumps({"runs": done}))


def batch_grid() -> Iterator[Point]:
    for batch_rows, rates in itertools.product((4, 8), (0.5, 1.0, 2.0, 4.0)):
        yield {"depth": 2, "tokens": 400_000, "batch_rows": batch_rows, "rates": rates}
    for batch_rows, rates in ((2, 1.0), (2, 2.0), (16, 2.0), (16, 4.0)):
        yield {"depth": 2, "tokens": 400_000, "batch_rows": batch_rows, "rates": rates}
    for batch_rows in (4, 8, 16):
        yield {"depth": 2, "tokens": 1_600_000, "batch_rows": batch_rows, "rates": 2.0}


def depth_grid() -> Iterator[Point]:
    for depth, rates in itertools.product((1, 4, 6), (2.0, 4.0, 1.0)):
        yield {"depth": depth, "tokens": 400_000, "batch_rows": 8, "rates": rates}


def roles_grid() -> Iterator[Point]:
    for name, values in ONE_AT_A_TIME.items():
        for value in values:
            yield {"depth": 2, "tokens": 400_000, "batch_rows": 8, "rates": 2.0, name: value}


def seeds_grid() -> Iterator[Point]:
    for seed in (1, 2):
        yield {"depth": 2, "tokens": 400_000, "batch_rows": 8, "rates": 2.0, "seed": seed}


GRIDS = {"batch": batch_grid, "roles": roles_grid, "depth": depth_grid, "seeds": seeds_grid}


def measure(point: Point, tokens: Path, tokenizer: Path) -> dict[str, Any]:
    """Train at a point of the sweep. Returns validation bits per byte, CPU seconds and what else the report says."""
    from gristmill.report import Report
    from gristmill.train.config import PretrainRun
    from gristmill.train.trainer import pretrain

    optim = {name: rate * point["rates"] for name, rate in BASE.items()}
    optim["weight_decay"] = 0.0
    schedule = {"warmup_steps": 20, "decay_ratio": 0.65}
    for name, value in point.items():
        if name in optim:
            optim[name] = value
        elif name in schedule:
            schedule[name] = value
    config = {
        "tokens": point["tokens"],
        "batch_rows": point["batch_rows"],
        "micro_rows": min(8, point["batch_rows"]),
        "seed": point.get("seed", 0),
        "eval_every_steps": 10**9,
        "checkpoint_every_s": 10**9,
        "optim": optim,
        "schedule": schedule,
    }
    run = PretrainRun.model_validate(
        {
            "tokens": tokens,
            "tokenizer": tokenizer,
            "model": {"depth": point["depth"]},
            "config": config,
            "resources": {"threads": 1, "device": "cpu"},
        }
    )
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        assert pretrain(run, Path(folder)) == 0
        report = Report.model_validate_json((Path(folder) / "result.json").read_text())
    cpu_s = time.process_time() - started
    return {
        "bits_per_byte": report.metrics["bits_per_byte"],
        "cpu_s": round(cpu_s, 1),
        "steps": report.metrics["steps"],
    }


def prepared(work: Path) -> Path:
    """The folder of token shards below `work`, made once by the stages' own functions."""
    from gristmill.crawl.config import IngestConfig
    from gristmill.crawl.ingest import run_ingest
    from gristmill.text.config import ExtractConfig, SplitConfig
    from gristmill.text.extract import run_extract
    from gristmill.text.split import run_split
    from gristmill.tokens.config import TokenizeConfig, TrainedTokenizer
    from gristmill.tokens.pack import run_tokenize
    from gristmill.tokens.tokenizer import run_train_tokenizer

    if (work / "tokens" / "meta.json").exists():
        return work / "tokens"
    folders = {name: work / name for name in ("pages", "documents", "splits", "tokenizer", "tokens")}
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    source = {"kind": "python_docs", "name": "python_docs", "max_modules": 1200}
    run_ingest(folders["pages"], IngestConfig.model_validate({"sources": [source]}))
    extract = ExtractConfig(languages=["en"], min_language_score=0.25)
    run_extract(folders["pages"], folders["documents"], extract, workers=1)
    run_split(folders["documents"], folders["splits"], SplitConfig(held_out=0.0, validation=0.02))
    run_train_tokenizer(folders["splits"], folders["tokenizer"], TrainedTokenizer(vocab_size=4096))
    run_tokenize(folders["splits"], folders["tokenizer"], folders["tokens"], TokenizeConfig(seq_len=256), workers=1)
    return folders["tokens"]


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


if __name__ == "__main__":
    main()
