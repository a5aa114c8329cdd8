"""The whole chain: grist in, flour out."""

from collections.abc import Callable
from typing import Any

from flows.ablation import ablation
from flows.data import data
from flows.promote import promote
from flows.scaling import scaling
from flows.train import train
from gristmill.config import PipelineConfig


def pipeline(config: PipelineConfig) -> None:
    """From a web crawl to a registered model that was promoted only if it is better."""
    grist = data(config)
    flour = train(config, grist)
    promote(config, grist, flour)


FLOWS: dict[str, Callable[[PipelineConfig], Any]] = {
    "pipeline": pipeline,
    "data": data,
    "scaling": scaling,
    "ablation": ablation,
}
