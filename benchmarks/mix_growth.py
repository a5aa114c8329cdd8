"""How the cost of `mix` grows: seconds, peak memory and bytes on disk.

1. `stage`: the whole stage on generated short documents (some 40 words) of 4 sources and 6 languages, with shares,
   quality buckets, FineWeb2's rehydration and up to 4 epochs, one worker.
2. `queue`: the decision alone on as many pages as a large crawl has, from arrays of random numbers: 5 sources, 8
   languages.

Every row runs in a process of its own; memory is its VmHWM, imports (`idle_mb`) included.

    python benchmarks/mix_growth.py [--documents 10000 50000 200000] [--pages 1000000 10000000] [--json]
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard
from gristmill.tokens.mix import run_mix
from gristmill.tokens.mix_config import MixConfig
from gristmill.tokens.mixture import Pages, epochs, first_places, line_up, places_within

MAX_EPOCHS = 4
SHARDS = 10
CONFIG = {
    "source_weights": {"s0": 4, "s1": 3, "s2": 2, "s3": 1},
    "language_weights": {f"l{n}": n + 1 for n in range(6)},
    "buckets": {"signal": "quality", "quantiles": 4, "rates": [0.5, 1, 1, 2]},
    "rehydrate": "fineweb2",
    "max_epochs": MAX_EPOCHS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="*", default=[10_000, 50_000, 200_000])
    parser.add_argument("--pages", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = {
        "idle_mb": alone(idle)["peak_mb"],
        "stage": [alone(stage, count) for count in options.documents],
        "queue": [alone(queue, count) for count in options.pages],
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"a process that only imports: {result['idle_mb']} MB")
    for name in ("stage", "queue"):
        for row in result[name]:
            print(f"{name}: " + ", ".join(f"{column} {value:,}" for column, value in row.items()))


def alone(function: Callable[..., dict[str, Any]], *arguments: int) -> dict[str, Any]:
    """What a function returns in a fresh process, with that process's peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_with_peak, (function, *arguments))


def _with_peak(function: Callable[..., dict[str, Any]], *arguments: int) -> dict[str, Any]:
    row = function(*arguments)
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.partition("VmHWM:")[2].split()[0])
    return row | {"peak_mb": round(kilobytes / 1024)}


def idle() -> dict[str, Any]:
    return {}


def stage(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        documents, out = Path(folder) / "documents", Path(folder) / "out"
        out.mkdir()
        write_documents(documents, count)
        start = time.perf_counter()
        report = run_mix(documents, out, MixConfig.model_validate(CONFIG | {"max_tokens": 60 * count}))
        seconds = time.perf_counter() - start
        disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        return {
            "documents": count,
            "seen": int(report.metrics["documents_seen"]),
            "seconds": round(seconds, 1),
            "disk_mb": round(disk / 2**20, 1),
        }


def write_documents(folder: Path, count: int) -> None:
    schema = pa.schema([*DOCUMENT_SCHEMA, ("quality", pa.float32()), ("cluster_size", pa.int32())])
    draws = random.Random(0)
    words = ["".join(draws.choices("abcdefghijklmnop", k=draws.randint(2, 9))) for _ in range(5000)]
    for shard in range(SHARDS):
        rows = (
            {
                "doc_id": f"{draws.getrandbits(64):016x}",
                "url": f"https://example.org/{number}",
                "text": " ".join(draws.choices(words, k=draws.randint(10, 70))),
                "source": f"s{draws.randrange(4)}",
                "language": f"l{draws.randrange(6)}",
                "quality": draws.random(),
                "cluster_size": draws.choice([1, 1, 1, 2, 3, 8, 200, 2000]),
            }
            for number in range(shard, count, SHARDS)
        )
        write_shard(folder / f"part-{shard:05d}.parquet", rows, schema=schema)


def queue(count: int) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    pages = Pages(
        place=draw.random(count),
        rate=draw.choice([0.5, 1.0, 2.0, 3.0], count),
        source=draw.integers(0, 5, count, dtype=np.int32),
        language=draw.integers(0, 8, count, dtype=np.int32),
        tokens=draw.integers(50, 5000, count),
        chars=draw.integers(200, 20_000, count),
    )
    start = time.perf_counter()
    line = line_up(pages, source_weights=np.ones(5), language_weights=np.ones(8), max_epochs=MAX_EPOCHS)
    end = places_within(line, pages.tokens, int(pages.tokens.sum()))
    seen = int(epochs(line, end, count).sum())
    assert seen == end
    assert (first_places(line, count) >= 0).all()
    return {"pages": count, "visits": len(line.page), "seen": seen, "seconds": round(time.perf_counter() - start, 1)}


if __name__ == "__main__":
    main()
