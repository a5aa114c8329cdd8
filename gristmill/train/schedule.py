"""The learning rate over a run, as a pure function of the step: a resumed run needs no state for it."""

from gristmill.train.config import ScheduleConfig, settled


def lr_multiplier(step: int, *, steps: int, config: ScheduleConfig) -> float:
    """Share of the full learning rate at `step` (0 is the first of `steps`).

    Warm-up, stable, linear decay (Hu et al. 2024, arXiv:2404.06395). The decay's line reaches its end one step after
    the last, so that no step is wasted on a rate of zero. Where warm-up and decay overlap, the smaller one holds.
    """
    warmup = min(1.0, (step + 1) / max(1, settled(config.warmup_steps)))
    decay_steps = settled(config.decay_ratio) * steps
    left = min(1.0, (steps - step) / decay_steps) if decay_steps else 1.0
    return min(warmup, config.final_lr_ratio + (1 - config.final_lr_ratio) * left)
