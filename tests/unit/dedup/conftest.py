"""The stages of deduplication one after the other, on documents that a test writes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gristmill.dedup.config import DedupConfig, KnownConfig, SignaturesConfig
from gristmill.dedup.known import run_known
from gristmill.dedup.minhash import run_dedup
from gristmill.dedup.signatures import run_signatures
from gristmill.report import Report
from gristmill.text.documents import read_documents, read_shard


@dataclass(frozen=True)
class Deduplicated:
    """What dedup left and what it said, by doc_id."""

    out: Path
    known: Path
    report: Report
    survivors: dict[str, dict[str, Any]]
    verdicts: dict[str, dict[str, Any]]
    """Of pages not simply kept."""


@pytest.fixture
def deduplicate(tmp_path: Path) -> Callable[..., Deduplicated]:
    """deduplicate(documents, workers=1, **config of dedup): runs signatures, dedup and known."""

    def run(documents: Path, *, workers: int = 1, **config: Any) -> Deduplicated:
        number = len(list(tmp_path.glob("run*")))
        folders = [tmp_path / f"run{number}" / name for name in ("signatures", "dedup", "known")]
        for folder in folders:
            folder.mkdir(parents=True)
        signatures, out, known = folders
        run_signatures(documents, signatures, SignaturesConfig(), workers=workers)
        report = run_dedup(documents, signatures, out, DedupConfig.model_validate(config), workers=workers)
        run_known(out, signatures, known, KnownConfig(documents_per_shard=100), workers=workers)
        rows = {row["doc_id"]: row for row in read_shard(out / "verdicts.parquet")}
        survivors = {row["doc_id"]: row for row in read_documents(out)}
        touched = {doc_id: row for doc_id, row in rows.items() if row["decision"] != "kept"}
        return Deduplicated(out, known, report, survivors, touched)

    return run
