"""Deduplication of 200,000 documents within a stated memory, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
MEMORY_MB = 64
DOCUMENTS = 200_000


@pytest.mark.integration
def test_200_000_documents_are_deduplicated_in_90_seconds_and_in_the_memory_that_docs_dedup_states():
    program = CHECKOUT / "benchmarks" / "dedup_growth.py"
    command = [sys.executable, str(program), "--documents", str(DOCUMENTS), "--memory-mb", str(MEMORY_MB), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert row["documents"] == DOCUMENTS
    assert DOCUMENTS * 0.8 < row["kept"] < DOCUMENTS * 0.95
    assert row["seconds"] < 90
    # VmHWM beside what the interpreter and its libraries take: memory_mb, 120 bytes a document, and one shard
    one_shard_mb = 60
    assert row["peak_mb"] - row["base_mb"] < MEMORY_MB + 120 * DOCUMENTS / 2**20 + one_shard_mb
    assert row["peak_mb"] < 400
