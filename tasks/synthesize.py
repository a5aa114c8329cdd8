"""Instruction rows that a model writes from seeds."""

from pathlib import Path

from gristmill.artifacts import Examples
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.synthesize.config import SynthesizeConfig
from tasks.launch import launch
from tasks.stage import stage


@stage(produces=Examples, version=3, resumable="always", launches=True)
def synthesize(
    out: Path,
    examples: Examples,
    config: SynthesizeConfig,
    decontaminate: DecontaminateConfig,
    resources: Resources = Resources(),
) -> Report:
    """Add rephrased, translated or new rows to those that `sft` learns from."""
    configs = {"config": config, "decontaminate": decontaminate}
    return launch("gristmill.synthesize.run", out, inputs={"examples": examples}, resources=resources, **configs)
