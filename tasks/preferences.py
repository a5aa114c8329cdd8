"""What people said of answers."""

from pathlib import Path

from gristmill.artifacts import Examples
from gristmill.report import Report
from gristmill.review.config import PreferencesConfig
from tasks.stage import stage


@stage(produces=Examples, version=1)
def preferences(out: Path, examples: Examples, config: PreferencesConfig) -> Report:
    """Put the pairs that people judged in place of the made ones, and the answers they wrote among the SFT rows."""
    from gristmill.review.preferences import run_preferences

    return run_preferences(examples.path, out, config)
