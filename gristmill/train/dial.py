"""The dial: what a configuration leaves at null follows from the size of the model.

The rules for learning rates and batches were fitted below depth 8; docs/decisions/0006-dial.md says by which runs, and
what did not work. Above that they are an extrapolation. torch is not needed here: a plan asks, and so does the program
that trains.
"""

from dataclasses import dataclass
from math import log, log2
from typing import TYPE_CHECKING, Any, TypeVar

from gristmill.model.shape import ModelShape
from gristmill.schema import Schema
from gristmill.train.config import PretrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

S = TypeVar("S", bound=Schema)

BATCH_TOKENS, BATCH_BUDGET, BATCH_POWER = 2048, 1_000_000, 0.6
LR_EMBEDDING, LR_TIED, LR_NORM = 0.1, 0.03, 3e-3
SHORT_RUN, LONG_RUN = 200, 733
"""Steps of the runs that were measured; shorter and longer ones get the rates of the nearer."""
LR_MATRIX = (0.03, 0.02)
"""In a short run and in a long one."""
LR_HEAD = (0.012, 0.00424)
"""The same, at HEAD_WIDTH: .003 in the long run, which was 256 wide."""
HEAD_WIDTH = 128
WARMUP_STEPS, WARMUP_RATIO, DECAY_RATIO = 20, 0.05, 0.65


@dataclass(frozen=True)
class Facts:
    """What the rules read of a model and its rows.

    parameters: those that a token meets, without embeddings and output matrix. tied: these two are one.
    """

    depth: int
    width: int
    parameters: int
    tied: bool
    seq_len: int


def facts_of(shape: ModelShape, *, seq_len: int) -> Facts:
    """The facts of a new model."""
    parameters = shape.active_parameters_without_vocabulary
    return Facts(shape.depth, shape.width, parameters, shape.tie_embeddings, seq_len)


def facts_of_built(model: "PreTrainedModel", *, seq_len: int) -> Facts:
    """The facts of a model in memory, wherever its weights come from."""
    from gristmill.model.roles import EMBEDDINGS, HEADS

    sizes = model.config
    active = getattr(sizes, "num_experts_per_tok", 0) / getattr(sizes, "num_experts", 1)
    parameters = 0.0
    for name, weight in model.named_parameters():
        is_bias_of_output = weight.shape == (sizes.vocab_size,)
        if name.rsplit(".", 2)[-2] not in (*EMBEDDINGS, *HEADS) and not is_bias_of_output:
            parameters += weight.numel() * (active if ".experts." in name else 1.0)
    return Facts(sizes.num_hidden_layers, sizes.hidden_size, round(parameters), sizes.tie_word_embeddings, seq_len)


def resolve(config: PretrainConfig, facts: Facts) -> PretrainConfig:
    """The configuration with a number for every null."""
    tokens = config.tokens or max(1, round(config.tokens_per_parameter * facts.parameters))
    batch_rows = config.batch_rows or batch_rows_for(tokens, seq_len=facts.seq_len)
    counted = config.model_copy(update={"tokens": tokens, "batch_rows": batch_rows})
    steps = counted.steps(facts.seq_len)
    rates = learning_rates(facts, batch_tokens=batch_rows * facts.seq_len, steps=steps)
    return counted.model_copy(
        update={"optim": _filled(config.optim, rates), "schedule": _filled(config.schedule, schedule(steps))}
    )


def batch_rows_for(tokens: int, *, seq_len: int) -> int:
    """Rows of a step for a budget of so many tokens: a power of two, which any usual number of processes can share."""
    batch_tokens = BATCH_TOKENS * (tokens / BATCH_BUDGET) ** BATCH_POWER
    return 2 ** max(0, round(log2(batch_tokens / seq_len)))


def learning_rates(facts: Facts, *, batch_tokens: int, steps: int) -> dict[str, float]:
    """The derived fields of `OptimConfig`.

    A step of few tokens is a noisy one, so rates fall with its root, as far as that was measured. The output matrix
    adds up as many numbers as the model is wide. A longer run wants slower matrices, and a slower output above all.
    """
    noise = (min(max(batch_tokens, BATCH_TOKENS // 2), BATCH_TOKENS) / BATCH_TOKENS) ** 0.5
    return {
        "lr_matrix": _between(LR_MATRIX, steps) * noise,
        "lr_embedding": (LR_TIED if facts.tied else LR_EMBEDDING) * noise,
        "lr_head": _between(LR_HEAD, steps) * (HEAD_WIDTH / facts.width) ** 0.5 * noise,
        "lr_norm": LR_NORM * noise,
        "weight_decay": 0.0,
    }


def _between(rates: tuple[float, float], steps: int) -> float:
    """From the short run's rate to the long one's, straight in the logarithms of both."""
    share = log(min(max(steps, SHORT_RUN), LONG_RUN) / SHORT_RUN) / log(LONG_RUN / SHORT_RUN)
    return rates[0] ** (1 - share) * rates[1] ** share


def schedule(steps: int) -> dict[str, float]:
    """The derived fields of `ScheduleConfig`."""
    return {"warmup_steps": min(WARMUP_STEPS, round(WARMUP_RATIO * steps)), "decay_ratio": DECAY_RATIO}


def _filled(config: S, derived: dict[str, Any]) -> S:
    """What is given stays."""
    return config.model_copy(update={name: value for name, value in derived.items() if getattr(config, name) is None})
