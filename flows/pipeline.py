"""The whole chain: grist in, flour out."""

from collections.abc import Callable
from typing import Any

from flows.ablation import ablation
from flows.data import crawl, data
from flows.promote import promote
from flows.scaling import scaling
from flows.train import base_model, train
from gristmill.config import PipelineConfig


def pipeline(config: PipelineConfig) -> None:
    """From a web crawl to a registered model that was promoted only if it is better."""
    if config.model.is_masked:
        raise ValueError(
            "a masked language model (model.family: bert) generates no text, so it cannot be fine-tuned on "
            "conversations or aligned; start the flow that ends with pretraining: gristmill run pretrain"
        )
    grist = data(config)
    flour = train(config, grist)
    promote(config, grist, flour)


def pretraining(config: PipelineConfig) -> None:
    """From a web crawl to a base model."""
    base_model(config, data(config))


FLOWS: dict[str, Callable[[PipelineConfig], Any]] = {
    "pipeline": pipeline,
    "crawl": crawl,
    "data": data,
    "pretrain": pretraining,
    "scaling": scaling,
    "ablation": ablation,
}
