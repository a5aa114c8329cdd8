"""The dial: what a configuration leaves at null follows from the size of the model.

The rules for learning rates and batches were fitted below depth 8; docs/decisions/0006-dial.md says by which runs, and
what did not work. Above that they are an extrapolation. torch is not needed here: a plan asks, and so does the program
that trains.
"""

from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING, Any, TypeVar

from gristmill.model.config import ModelConfig
from gristmill.schema import Schema
from gristmill.train.config import PretrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

S = TypeVar("S", bound=Schema)

BATCH_TOKENS, BATCH_BUDGET, BATCH_POWER = 2048, 400_000, 0.5
LR_MATRIX, LR_EMBEDDING, LR_TIED, LR_HEAD, LR_NORM = 0.02, 0.1, 0.03, 0.01, 3e-3
WARMUP_STEPS, WARMUP_RATIO, DECAY_RATIO = 20, 0.05, 0.65


@dataclass(frozen=True)
class Facts:
    """What the rules read of a model and its rows.

    parameters: without embeddings and output matrix. tied: the embeddings are the output matrix too.
    """

    depth: int
    width: int
    parameters: int
    tied: bool
    seq_len: int


def facts_of(model: ModelConfig, *, seq_len: int) -> Facts:
    """The facts of a new model of this configuration."""
    shape = model.shape
    return Facts(shape.depth, shape.width, shape.parameters_without_vocabulary, model.tie_embeddings, seq_len)


def facts_of_built(model: "PreTrainedModel", *, seq_len: int) -> Facts:
    """The facts of a model in memory, wherever its weights come from."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    vocabulary = {weight for layer in layers if layer is not None for weight in layer.parameters()}
    parameters = sum(weight.numel() for weight in model.parameters() if weight not in vocabulary)
    sizes = model.config
    return Facts(sizes.num_hidden_layers, sizes.hidden_size, parameters, sizes.tie_word_embeddings, seq_len)


def resolve(config: PretrainConfig, facts: Facts) -> PretrainConfig:
    """The configuration with a number for every null."""
    tokens = config.tokens or max(1, round(config.tokens_per_parameter * facts.parameters))
    batch_rows = config.batch_rows or batch_rows_for(tokens, seq_len=facts.seq_len)
    counted = config.model_copy(update={"tokens": tokens, "batch_rows": batch_rows})
    return counted.model_copy(
        update={
            "optim": _filled(config.optim, learning_rates(facts, batch_tokens=batch_rows * facts.seq_len)),
            "schedule": _filled(config.schedule, schedule(counted.steps(facts.seq_len))),
        }
    )


def batch_rows_for(tokens: int, *, seq_len: int) -> int:
    """Rows of a step for a budget of so many tokens: a power of two, which any usual number of processes can share."""
    batch_tokens = BATCH_TOKENS * (tokens / BATCH_BUDGET) ** BATCH_POWER
    return 2 ** max(0, round(log2(batch_tokens / seq_len)))


def learning_rates(facts: Facts, *, batch_tokens: int) -> dict[str, float]:
    """The derived fields of `OptimConfig`."""
    return {
        "lr_matrix": LR_MATRIX,
        "lr_embedding": LR_TIED if facts.tied else LR_EMBEDDING,
        "lr_head": LR_HEAD,
        "lr_norm": LR_NORM,
        "weight_decay": 0.0,
    }


def schedule(steps: int) -> dict[str, float]:
    """The derived fields of `ScheduleConfig`."""
    return {"warmup_steps": min(WARMUP_STEPS, round(WARMUP_RATIO * steps)), "decay_ratio": DECAY_RATIO}


def _filled(config: S, derived: dict[str, Any]) -> S:
    """What is given stays."""
    return config.model_copy(update={name: value for name, value in derived.items() if getattr(config, name) is None})
