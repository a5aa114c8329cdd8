"""Thresholds on the measured signals."""

from pathlib import Path

from gristmill.artifacts import Documents
from gristmill.filters.config import FilterConfig
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.shard_cache import ShardCache
from tasks.stage import stage


@stage(produces=Documents, version=2, resumable="same_code")
def filter(
    out: Path,
    documents: Documents,
    config: FilterConfig,
    resources: Resources = Resources(),
    cache: ShardCache | None = None,
) -> Report:
    """Keep documents that pass every threshold; record the first one a dropped page failed."""
    from gristmill.filters.filter import run_filter

    return run_filter(documents.path, out, config, workers=resources.pool, cache=cache)
