"""When to end a run whose validation stops improving, and which checkpoint is its result."""

from gristmill.schema import Schema
from gristmill.train.loop_config import EarlyStopConfig


class BestState(Schema):
    """What a run that may end early remembers; part of every checkpoint."""

    step: int | None = None
    """Steps done when validation was best."""
    bits_per_byte: float | None = None
    """Of validation, there."""
    without_gain: int = 0
    """Measurements since then."""


def measured(bits_per_byte: float, *, step: int, best: BestState, config: EarlyStopConfig) -> BestState:
    """The state after another measurement of validation, `step` steps into the run. NaN is no gain."""
    if best.bits_per_byte is None or bits_per_byte < best.bits_per_byte - config.min_delta:
        return BestState(step=step, bits_per_byte=bits_per_byte)
    return best.model_copy(update={"without_gain": best.without_gain + 1})


def is_over(best: BestState, config: EarlyStopConfig | None) -> bool:
    """Whether patience is at its end."""
    return config is not None and best.without_gain >= config.patience
