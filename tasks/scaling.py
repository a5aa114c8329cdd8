"""The law through a ladder of trained models."""

from collections.abc import Mapping
from pathlib import Path

from gristmill.artifacts import Checkpoint, ScalingLaw
from gristmill.model.config import ModelConfig
from gristmill.report import Report
from gristmill.scaling.config import ScalingConfig
from tasks.stage import stage


@stage(produces=ScalingLaw, version=1)
def scaling(out: Path, rungs: Mapping[str, Checkpoint], model: ModelConfig, config: ScalingConfig) -> Report:
    """Fit the law, predict the held-out models, answer the budgets, draw the plot."""
    from gristmill.scaling.run import run_scaling

    return run_scaling({name: rung.path for name, rung in rungs.items()}, out, model=model, config=config)
