"""The whole chain: grist in, flour out."""

from collections.abc import Callable
from typing import Any

from flows.ablation import ablation
from flows.data import crawl, data
from flows.promote import promote
from flows.scaling import scaling
from flows.train import base_model, train
from gristmill.config import PipelineConfig
from tasks.sft import sft


def pipeline(config: PipelineConfig) -> None:
    """From a web crawl to a registered model that was promoted only if it is better."""
    if config.model.is_masked:
        raise ValueError(
            "a masked language model (model.family: bert) generates no text, so it cannot be fine-tuned on "
            "conversations or aligned; start the flow that ends with pretraining: gristmill run pretrain"
        )
    if config.sft.task == "classification":
        raise ValueError(
            "sft.task=classification makes a model that answers nothing, so it can be neither aligned nor asked "
            "benchmarks; start the flow that ends with it: gristmill run classify"
        )
    config.check_promotion()
    grist = data(config)
    flour = train(config, grist)
    promote(config, grist, flour)


def pretraining(config: PipelineConfig) -> None:
    """From a web crawl to a base model."""
    base_model(config, data(config))


def classify(config: PipelineConfig) -> None:
    """From a web crawl, or an open model, to a classifier."""
    if config.sft.task != "classification":
        raise ValueError(
            "classify fine-tunes a classifier; set sft: {task: classification, data: {kind: files, paths: […]}}"
        )
    if config.synthesize:
        raise ValueError(
            "classify learns from labelled rows alone, and synthesize makes conversations; set synthesize: null"
        )
    grist = data(config)
    sft(model=base_model(config, grist), examples=grist.examples, config=config.sft)


FLOWS: dict[str, Callable[[PipelineConfig], Any]] = {
    "pipeline": pipeline,
    "crawl": crawl,
    "data": data,
    "pretrain": pretraining,
    "classify": classify,
    "scaling": scaling,
    "ablation": ablation,
}
