"""Bits of every document of the validation sets under one model."""

from pathlib import Path

from gristmill.ablation.config import TextBitsConfig
from gristmill.artifacts import Checkpoint, DocumentBits, Splits
from gristmill.report import Report
from gristmill.schema import Resources
from tasks.launch import launch
from tasks.stage import stage


@stage(produces=DocumentBits, version=1, launches=True)
def text_bits(
    out: Path, model: Checkpoint, splits: Splits, config: TextBitsConfig, resources: Resources = Resources()
) -> Report:
    """Measure a model on clean texts, document by document."""
    inputs = {"model": model, "splits": splits}
    return launch("gristmill.ablation.text_bits", out, inputs=inputs, config=config, resources=resources)
