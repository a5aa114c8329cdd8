"""When validation counts as better, and when a run that no longer gains ends."""

from gristmill.train.loop_config import EarlyStopConfig


def is_gain(bits_per_byte: float, *, best: float | None, config: EarlyStopConfig | None) -> bool:
    """Whether a measurement of validation beats the best before it; in a run that may end early, by `min_delta`.

    NaN beats nothing.
    """
    return best is None or bits_per_byte < best - (config.min_delta if config else 0.0)


def is_over(evaluations_without_gain: int, config: EarlyStopConfig | None) -> bool:
    """Whether patience is at its end."""
    return config is not None and evaluations_without_gain >= config.patience
