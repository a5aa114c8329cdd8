"""A model that scores answers."""

from pathlib import Path

from gristmill.align.config import RewardModelConfig
from gristmill.artifacts import Checkpoint, Examples
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.launch import launch
from tasks.stage import stage


@stage(produces=Checkpoint, version=4, launches=True)
def reward_model(
    out: Path,
    model: Checkpoint,
    examples: Examples,
    config: RewardModelConfig,
    decontaminate: DecontaminateConfig | None = None,
    asked: Examples | None = None,
    resources: Resources = Resources(),
) -> Report:
    """Bradley–Terry training on preference pairs."""
    inputs = {"model": model, "examples": examples, "asked": asked}
    configs = {"config": config, "decontaminate": decontaminate}
    return launch("gristmill.align.reward_model", out, inputs=inputs, resources=resources, **configs)
