"""Scores of a checkpoint, with intervals, beside its parent's."""

from pathlib import Path

from gristmill.artifacts import Checkpoint, Documents, Evaluation, Examples, Tokens
from gristmill.evaluate.config import EvaluateConfig
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.launch import launch
from tasks.stage import stage


@stage(produces=Evaluation, version=7, resumable="same_code", launches=True)
def evaluate(
    out: Path,
    model: Checkpoint,
    tokens: Tokens,
    examples: Examples,
    decontaminated: Documents,
    parent: Evaluation | None,
    config: EvaluateConfig,
    resources: Resources = Resources(),
) -> Report:
    """Bits per byte and benchmarks, item by item."""
    inputs = {
        "model": model,
        "tokens": tokens,
        "examples": examples,
        "decontaminated": decontaminated,
        "parent": parent,
    }
    return launch("gristmill.evaluate.run", out, inputs=inputs, config=config, resources=resources)
