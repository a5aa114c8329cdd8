"""Instruction rows, preference pairs and benchmark items."""

from pathlib import Path

from gristmill.artifacts import Examples
from gristmill.examples.config import ExamplesConfig
from gristmill.report import Report
from gristmill.text.config import SplitConfig
from tasks.stage import stage


@stage(produces=Examples, version=2)
def examples(out: Path, config: ExamplesConfig, split: SplitConfig) -> Report:
    """Make SFT rows and preference pairs from the training split, benchmark items from the held-out one."""
    from gristmill.examples.python_docs import run_examples

    return run_examples(out, config, split=split)
