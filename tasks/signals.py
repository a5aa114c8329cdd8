"""Every quality, toxicity and model score of a document, as columns."""

from pathlib import Path

from gristmill.artifacts import Documents
from gristmill.filters.config import SignalsConfig
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.shard_cache import ShardCache
from tasks.stage import stage


@stage(produces=Documents, version=2, resumable="same_code")
def signals(
    out: Path,
    documents: Documents,
    config: SignalsConfig,
    resources: Resources = Resources(),
    cache: ShardCache | None = None,
) -> Report:
    """Measure each document once; drop none."""
    from gristmill.filters.signals import run_signals

    return run_signals(documents.path, out, config, workers=resources.pool, cache=cache)
