"""What a run begins with: new weights, or those of an earlier or an open model."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from gristmill.model.build import build_model, load_model
from gristmill.model.vocabulary import own_tokens
from gristmill.train.config import PretrainRun
from gristmill.train.kl import StartModel


def start_folder(run: PretrainRun) -> Path | None:
    """The model that training goes on from; None for a new one. Raises ValueError where the run file lacks it."""
    kind = run.model.start.kind
    if kind != "scratch" and run.start is None:
        raise ValueError(f"model.start is of kind {kind}, but `start`, the folder of that model, is not given")
    return run.start if kind != "scratch" else None


def starting_model(run: PretrainRun, start: Path | None, meta: dict[str, Any]) -> PreTrainedModel:
    """The model before its first step. meta: that of the token shards, whose vocabulary and length it takes."""
    sizes = {"vocab_size": meta["vocab_size"], "max_seq_len": meta["seq_len"]}
    if start:
        return load_model(start, tokenizer=run.tokenizer, **sizes).train()
    tokens = {name: meta[name] for name in ("bos_id", "eos_id", "pad_id")}
    return build_model(run.model, **sizes, **tokens, seed=run.config.seed).train()


def held_to(run: PretrainRun, start: Path | None, model: PreTrainedModel, meta: dict[str, Any]) -> StartModel | None:
    """The model as it starts, where `kl_to_start` keeps the trained one near it."""
    if not run.config.kl_to_start:
        return None
    if start is None:
        raise ValueError("pretrain.kl_to_start has no model to hold on to: model.start is scratch; set it to 0")
    return StartModel(model, bos_id=meta["bos_id"], own_tokens=own_tokens(start, model))
