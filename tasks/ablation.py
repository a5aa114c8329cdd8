"""Data recipes compared: a table with intervals and a verdict."""

from collections.abc import Mapping
from pathlib import Path

from gristmill.ablation.config import AblationConfig
from gristmill.artifacts import Ablation, DocumentBits
from gristmill.report import Report
from tasks.stage import stage


@stage(produces=Ablation, version=1)
def ablation(out: Path, trials: Mapping[str, DocumentBits], config: AblationConfig) -> Report:
    """Compare every recipe with the baseline, paired over seeds and documents."""
    from gristmill.ablation.run import run_ablation

    return run_ablation({name: trial.path for name, trial in trials.items()}, out, config)
