"""Sources in the configured proportions."""

from pathlib import Path

from gristmill.artifacts import Documents
from gristmill.report import Report
from gristmill.tokens.config import MixConfig
from tasks.stage import stage


@stage(produces=Documents, version=2)
def mix(out: Path, documents: Documents, config: MixConfig) -> Report:
    """Sample documents by source weight within the budget."""
    from gristmill.tokens.mix import run_mix

    return run_mix(documents.path, out, config)
