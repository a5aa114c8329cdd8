"""Adapters: made for a training by PEFT, saved in its format, and merged into the model they were trained beside.

TRL's trainers take what `peft_config` returns and attach it themselves.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import BitsAndBytesConfig, PreTrainedModel

from gristmill.align.adapter_config import Adapter

FOLDER = "adapter"


def peft_config(adapter: Adapter | None, task: Literal["answers", "scores"]) -> LoraConfig | None:
    """PEFT's words for an adapter; None where all weights train. `scores`: a scorer, whose new head trains whole."""
    if adapter is None:
        return None
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM if task == "answers" else TaskType.SEQ_CLS,
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
        use_dora=adapter.kind == "dora",
    )


def attached(model: PreTrainedModel, adapter: Adapter | None, task: Literal["answers", "scores"]) -> Any:
    """The model with a new adapter beside it, for a trainer that attaches none itself."""
    config = peft_config(adapter, task)
    return get_peft_model(model, config) if config else model


def quantization(adapter: Adapter | None, device: torch.device) -> BitsAndBytesConfig | None:
    """How the frozen weights are kept; None: in float32. Raises ValueError where 4 bits are not to be had."""
    if adapter is None or adapter.kind != "qlora":
        return None
    if device.type != "cuda":
        raise ValueError(
            f"adapter.kind=qlora keeps weights in 4 bits, which needs a CUDA device, and this run is on {device}; "
            "choose adapter.kind: lora or dora, adapter: null for all weights, or resources.device: cuda"
        )
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            "adapter.kind=qlora needs the package bitsandbytes, which is not installed; pip install bitsandbytes, or "
            "choose adapter.kind: lora or dora"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def merged(
    trained: Any, adapter: Adapter | None, out: Path, *, base: Path, reload: Callable[[], PreTrainedModel]
) -> PreTrainedModel:
    """The whole model after training, its adapter saved under `out`. `trained`: a trainer's model.

    reload: the base as it is on disk, for an adapter that was trained beside quantized weights.
    """
    if adapter is None:
        return trained
    assert isinstance(trained, PeftModel)
    trained.peft_config["default"].base_model_name_or_path = base.name  # no machine's path
    # no adapter of ours touches embeddings; asked to find out, PEFT looks for the base on the hub
    trained.save_pretrained(str(out / FOLDER), save_embedding_layers=False)
    (out / FOLDER / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in
    (out / FOLDER / "adapter_model.safetensors").chmod(0o644)
    if adapter.kind == "qlora":
        trained = PeftModel.from_pretrained(reload(), str(out / FOLDER))
    return trained.merge_and_unload()  # pyright: ignore[reportCallIssue]
