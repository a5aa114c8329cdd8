"""What the corpus holds, for the next crawl and for whoever asks."""

from pathlib import Path

from gristmill.artifacts import Documents, Signatures
from gristmill.dedup.config import KnownConfig
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.stage import stage


@stage(produces=Signatures, version=1, resumable="same_code")
def known(
    out: Path,
    documents: Documents,
    signatures: Signatures,
    config: KnownConfig,
    resources: Resources = Resources(),
) -> Report:
    """Keep the signatures of the documents that survived deduplication."""
    from gristmill.dedup.known import run_known

    return run_known(documents.path, signatures.path, out, config, workers=resources.pool)
