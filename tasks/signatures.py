"""What deduplication compares, once for all."""

from pathlib import Path

from gristmill.artifacts import Documents, Signatures
from gristmill.dedup.config import SignaturesConfig
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.stage import stage


@stage(produces=Signatures, version=1, resumable="same_code")
def signatures(out: Path, documents: Documents, config: SignaturesConfig, resources: Resources = Resources()) -> Report:
    """Sign every document: MinHash bands, shingles, and the facts by which the better one is chosen."""
    from gristmill.dedup.signatures import run_signatures

    return run_signatures(documents.path, out, config, workers=resources.pool)
