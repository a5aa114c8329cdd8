"""The rungs of a ladder: which model is trained on how many tokens."""

import math
from dataclasses import dataclass

from gristmill.model.config import LEARNED_POSITIONS, ModelConfig
from gristmill.scaling.config import ScalingConfig
from gristmill.train.config import PretrainConfig
from gristmill.train.cost import flops_per_token, scaling_parameters


@dataclass(frozen=True)
class Rung:
    """One training of the ladder; `name` is `d3-x2.5`: depth 3, 2.5 tokens a parameter."""

    name: str
    model: ModelConfig
    pretrain: PretrainConfig


def ladder(
    config: ScalingConfig, *, model: ModelConfig, pretrain: PretrainConfig, vocab_size: int, seq_len: int
) -> list[Rung]:
    """All rungs that `min_tokens` and `max_flops` allow, the smallest depth first.

    Raises ValueError when too few are left to fit the law's five unknowns, or a depth that is held out has none.
    """
    rungs: list[Rung] = []
    for depth in config.depths:
        sized = model_at(depth, config, model)
        parameters = scaling_parameters(sized.shape, vocab_size)
        for ratio in config.tokens_per_parameter:
            tokens = round(ratio * parameters)
            flops = tokens * flops_per_token(sized.shape, vocab_size, seq_len)
            if tokens >= config.min_tokens and flops <= (config.max_flops or math.inf):
                budgeted = PretrainConfig.model_validate(pretrain.model_dump() | {"tokens": tokens})
                rungs.append(Rung(f"d{depth}-x{ratio:g}", sized, budgeted))
    held_out = config.depths[len(config.depths) - config.hold_out :]
    fitted = [rung for rung in rungs if rung.model.depth not in held_out]
    if len(fitted) < 6 or {rung.model.depth for rung in rungs} < set(config.depths):
        raise ValueError(
            f"scaling.min_tokens={config.min_tokens} and max_flops={config.max_flops} leave "
            f"{', '.join(rung.name for rung in rungs) or 'no rung'}; every depth needs a rung, and 6 must be left to "
            "fit: lower the first, raise the second, or choose other depths"
        )
    return rungs


def model_at(depth: int, config: ScalingConfig, model: ModelConfig) -> ModelConfig:
    """The configured model at another depth."""
    sizes: dict[str, int] = {"depth": depth}
    if config.width_per_layer:
        sizes |= {"width": depth * config.width_per_layer, "heads": depth}
        if model.family not in LEARNED_POSITIONS:  # there a head always has its share of the width
            sizes["head_dim"] = config.width_per_layer
    return ModelConfig.model_validate(model.model_dump() | sizes)
