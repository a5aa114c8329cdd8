"""One document per cluster of duplicates."""

from pathlib import Path

from gristmill.artifacts import Documents, Signatures
from gristmill.dedup.config import DedupConfig
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.stage import stage


@stage(produces=Documents, version=3, resumable="same_code")
def dedup(
    out: Path,
    documents: Documents,
    signatures: Signatures,
    config: DedupConfig,
    resources: Resources = Resources(),
) -> Report:
    """Drop exact and near duplicates across the whole crawl, and what earlier crawls have."""
    from gristmill.dedup.minhash import run_dedup

    return run_dedup(documents.path, signatures.path, out, config, workers=resources.pool)
