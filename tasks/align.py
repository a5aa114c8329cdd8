"""The answering model learns what is preferred."""

from pathlib import Path

from gristmill.align.config import AlignConfig
from gristmill.artifacts import Checkpoint, Examples
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.launch import launch
from tasks.stage import stage

PROGRAMS = {
    "dpo": "gristmill.align.dpo",
    "orpo": "gristmill.align.dpo",
    "kto": "gristmill.align.kto",
    "grpo": "gristmill.align.online.run",
    "reinforce": "gristmill.align.online.run",
    "ppo": "gristmill.align.online.run",
}


@stage(produces=Checkpoint, version=4, launches=True)
def align(
    out: Path,
    model: Checkpoint,
    examples: Examples,
    reward_model: Checkpoint | None,
    config: AlignConfig,
    judge_model: Checkpoint | None = None,
    decontaminate: DecontaminateConfig | None = None,
    asked: Examples | None = None,
    resources: Resources = Resources(),
) -> Report:
    """Optimize the policy by preferences (DPO, ORPO, KTO), or by rewards of answers it samples (GRPO, RLOO, PPO)."""
    inputs = {"model": model, "examples": examples, "asked": asked, "reward_model": reward_model}
    inputs |= {"judge_model": judge_model} if judge_model else {}
    configs = {"config": config, "decontaminate": decontaminate}
    return launch(PROGRAMS[config.algorithm], out, inputs=inputs, resources=resources, **configs)
