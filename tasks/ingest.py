"""Sources become WARC files with a manifest."""

from pathlib import Path

from gristmill.artifacts import Warcs
from gristmill.crawl.config import IngestConfig
from gristmill.report import Report
from tasks.stage import stage


@stage(produces=Warcs, version=1, resumable="same_code")
def ingest(out: Path, config: IngestConfig) -> Report:
    """Bring every source into the store as WARC files."""
    from gristmill.crawl.ingest import run_ingest

    return run_ingest(out, config)
