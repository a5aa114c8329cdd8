"""The learning rate over a run, as a pure function of the step: a resumed run needs no state for it."""

import math

from gristmill.train.config import ScheduleConfig, settled


def lr_multiplier(step: int, *, steps: int, config: ScheduleConfig) -> float:
    """Share of the full learning rate at `step` (0 is the first of `steps`).

    `wsd`: warm-up, stable, linear decay (Hu et al. 2024, arXiv:2404.06395). `cosine`: half a wave from the end of the
    warm-up on (Loshchilov and Hutter 2017, arXiv:1608.03983). Either reaches its end one step after the last, so that
    no step is wasted on a rate of zero. Where warm-up and decay overlap, the smaller one holds.
    """
    warmup = min(1.0, (step + 1) / max(1, settled(config.warmup_steps)))
    left = _left_of_wave(step, steps, config) if config.kind == "cosine" else _left_of_line(step, steps, config)
    return min(warmup, config.final_lr_ratio + (1 - config.final_lr_ratio) * left)


def _left_of_line(step: int, steps: int, config: ScheduleConfig) -> float:
    decay_steps = settled(config.decay_ratio) * steps
    return min(1.0, (steps - step) / decay_steps) if decay_steps else 1.0


def _left_of_wave(step: int, steps: int, config: ScheduleConfig) -> float:
    warmup_steps = settled(config.warmup_steps)
    done = max(0, step - warmup_steps) / max(1, steps - warmup_steps)
    return (1 + math.cos(math.pi * done)) / 2
