"""How the cost of deduplication grows with the number of documents: seconds, peak memory, bytes on disk.

    .venv/bin/python benchmarks/dedup_growth.py [--documents 10000 50000 200000] [--memory-mb 64] [--json]

Documents are generated: 20 to 120 words of a Zipf-like lexicon; three in ten are copies of an earlier one with a few
words changed, one in twenty has the same words. Each size runs in a process of its own, one worker, `signatures` and
`dedup` one after the other. `peak_mb` is VmHWM, the most that was resident, mapped files included; `base_mb` the same
for a single document: the interpreter and its libraries. `disk_mb` is what the run holds at its end: signatures,
scratch files of dedup, documents.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.dedup.config import DedupConfig, SignaturesConfig
from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard

DOCUMENTS_PER_SHARD = 10_000
LEXICON = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--memory-mb", type=int, default=64, help="dedup.memory_mb")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.memory_mb)))
        return
    rows = [row_for(count, arguments.memory_mb) for count in arguments.documents]
    if arguments.json:
        print(json.dumps({"memory_mb": arguments.memory_mb, "rows": rows}))
        return
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{value:,}" for value in row.values()) + " |")


def row_for(count: int, memory_mb: int) -> dict[str, Any]:
    """One row of the table."""
    base = _measured_apart(1, memory_mb)
    measured = _measured_apart(count, memory_mb)
    return {"documents": count, **measured, "base_mb": base["peak_mb"]}


def _measured_apart(count: int, memory_mb: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "documents", count)
        command = [sys.executable, __file__, "--measure", folder, "--memory-mb", str(memory_mb)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder: Path, memory_mb: int) -> dict[str, Any]:
    """Sign and deduplicate `folder/documents` in this process."""
    from gristmill.dedup.minhash import run_dedup
    from gristmill.dedup.signatures import run_signatures

    config = DedupConfig(memory_mb=memory_mb)
    for name in ("signatures", "dedup"):
        (folder / name).mkdir()
    started = time.monotonic()
    run_signatures(folder / "documents", folder / "signatures", SignaturesConfig(), workers=1)
    signed = time.monotonic()
    report = run_dedup(folder / "documents", folder / "signatures", folder / "dedup", config, workers=1)
    ended = time.monotonic()
    written = [path for name in ("signatures", "dedup") for path in (folder / name).rglob("*") if path.is_file()]
    return {
        "seconds": round(ended - started, 1),
        "of_them_signatures": round(signed - started, 1),
        "peak_mb": round(peak_bytes() / 2**20),
        "disk_mb": round(sum(path.stat().st_size for path in written) / 2**20),
        "kept": report.rows_out,
        "pairs_compared": report.details["pairs_compared"],
    }


def peak_bytes() -> int:
    """The most that this process had resident, by /proc/self/status."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def generate(folder: Path, count: int) -> None:
    """Shards of documents; the same for the same count."""
    draws = np.random.default_rng(0)
    # words of nearly the frequencies of a language, so that documents share many words and few shingles
    words = np.array([f"w{number:x}" for number in range(LEXICON)])
    ranks = 1 / np.arange(1, LEXICON + 1)
    bounds = np.cumsum(ranks / ranks.sum())
    texts: list[np.ndarray] = []
    for first in range(0, count, DOCUMENTS_PER_SHARD):
        shard = []
        for _ in range(first, min(count, first + DOCUMENTS_PER_SHARD)):
            shard.append(_document(draws, bounds, texts))
            texts.append(shard[-1])
        rows = _rows(first, words, shard)
        write_shard(folder / f"part-{first // DOCUMENTS_PER_SHARD:05d}.parquet", rows, schema=DOCUMENT_SCHEMA)


def _document(draws: np.random.Generator, bounds: np.ndarray, earlier: list[np.ndarray]) -> np.ndarray:
    kind = draws.random()
    if earlier and kind < 0.35:
        text = earlier[draws.integers(len(earlier))].copy()
        if kind < 0.3:
            changes = draws.integers(1, 1 + max(1, len(text) // 20))
            text[draws.integers(0, len(text), changes)] = draws.integers(0, LEXICON, changes)
        return text
    return np.searchsorted(bounds, draws.random(draws.integers(20, 120))).clip(max=LEXICON - 1)


def _rows(first: int, words: np.ndarray, shard: list[np.ndarray]) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(shard, start=first):
        yield {
            "doc_id": f"{number:016x}",
            "url": f"https://site{number % 997}.example/{number}",
            "text": " ".join(words[text].tolist()),
            "date": "2026-01-01T00:00:00Z",
            "source": f"source{number % 3}",
            "language": "en",
        }


if __name__ == "__main__":
    main()
