"""Train, validation and held-out pages."""

from pathlib import Path

from gristmill.artifacts import Documents, Splits
from gristmill.report import Report
from gristmill.text.config import SplitConfig
from tasks.stage import stage


@stage(produces=Splits, version=2)
def split(out: Path, documents: Documents, config: SplitConfig) -> Report:
    """Divide documents by the hash of their canonical URL."""
    from gristmill.text.split import run_split

    return run_split(documents.path, out, config)
