"""Benchmark items leave the training text."""

from pathlib import Path

from gristmill.artifacts import Documents, Examples
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.text.config import SplitConfig
from tasks.stage import stage


@stage(produces=Documents, version=3, resumable="same_code")
def decontaminate(
    out: Path,
    documents: Documents,
    examples: Examples,
    config: DecontaminateConfig,
    split: SplitConfig,
    resources: Resources = Resources(),
) -> Report:
    """Trim or drop documents that contain a benchmark item."""
    from gristmill.dedup.decontaminate import run_decontaminate

    return run_decontaminate(documents.path, examples.path, out, config, split=split, workers=resources.pool)
