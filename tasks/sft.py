"""The base model learns to answer."""

from pathlib import Path

from gristmill.align.config import SftConfig
from gristmill.artifacts import Checkpoint, Examples
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.launch import launch
from tasks.stage import stage

PROGRAMS = {"chat": "gristmill.align.sft", "classification": "gristmill.align.classification"}


@stage(produces=Checkpoint, version=4, launches=True)
def sft(
    out: Path,
    model: Checkpoint,
    examples: Examples,
    config: SftConfig,
    decontaminate: DecontaminateConfig | None = None,
    asked: Examples | None = None,
    resources: Resources = Resources(),
) -> Report:
    """Supervised fine-tuning on the assistant's tokens, or of a classifier."""
    inputs = {"model": model, "examples": examples, "asked": asked}
    configs = {"config": config, "decontaminate": decontaminate}
    return launch(PROGRAMS[config.task], out, inputs=inputs, resources=resources, **configs)
