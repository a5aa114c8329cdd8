"""WARC files become documents in the configured languages."""

from pathlib import Path

from gristmill.artifacts import Documents, Warcs
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.shard_cache import ShardCache
from gristmill.text.config import ExtractConfig
from tasks.stage import stage


@stage(produces=Documents, version=3, resumable="same_code")
def extract(
    out: Path,
    warcs: Warcs,
    config: ExtractConfig,
    resources: Resources = Resources(),
    cache: ShardCache | None = None,
) -> Report:
    """Read pages, identify their language on the fast text, extract the survivors' main text."""
    from gristmill.text.extract import run_extract

    return run_extract(warcs.path, out, config, workers=resources.pool, cache=cache)
