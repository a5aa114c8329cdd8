"""What a run does about a loss that is not finite or far above those before it: leave the step out, go back, or stop.

A step whose loss spikes moves no weight. When too many are left out within the window, the weights themselves are
suspected: they are set back to an anchor, a checkpoint written at a fixed step, and training goes on after the spike,
without the rows between (Chowdhery et al. 2022, arXiv:2204.02311, section 5.1). To train again on the rows before the
spike would give the same weights and the same spike: the order of rows and every sum are deterministic.
Every decision is a function of the checkpointed state and of the losses, so a run that is killed and resumed decides
the same. Leaving out spikes follows the SkipStepOptimizer of OLMo-core, with medians in place of mean and standard
deviation: a spike does not hide the next one.
"""

import itertools
import math
import statistics
from typing import Literal

from gristmill.schema import Schema
from gristmill.train.loop_config import GuardsConfig

Verdict = Literal["train", "skip", "roll_back", "stop"]

MIN_LOSSES = 16
"""Losses that the window must hold before one can be called a spike."""
MEDIAN_TO_DEVIATION = 1.4826  # of what is normally distributed, from the median of its absolute values
MIN_DEVIATION = 0.01
"""Share of the median below which a deviation is not believed: losses of a plateau may differ by less."""


class GuardState(Schema):
    """What the guards remember; part of every checkpoint."""

    losses: tuple[float, ...] = ()
    """Of the last steps that were trained on, oldest first, in nats per token."""
    skipped: tuple[int, ...] = ()
    """Steps (0 is the first) that moved no weight, in the whole run."""
    left_out: tuple[tuple[int, int], ...] = ()
    """First and last step of each stretch whose training was undone by a rollback."""
    anchor: int | None = None
    """Steps done at the checkpoint that a rollback goes back to."""

    @property
    def steps_without_effect(self) -> int:
        """Steps of the whole run that the weights owe nothing to."""
        undone = {step for first, last in self.left_out for step in range(first, last + 1)}
        return len(undone.union(self.skipped))


def robust_z(loss: float, losses: tuple[float, ...]) -> float:
    """How many deviations a loss lies above the median of earlier ones; 0 while there are too few to say.

    The deviation is that of noise whose neighbours differ by the median that these losses' neighbours do: neither a
    trend nor a spike among them widens it (von Neumann 1941 on differences, Hampel 1974 on medians). It is at least 1 %
    of the median.
    """
    if len(losses) < MIN_LOSSES:
        return 0.0
    median = statistics.median(losses)
    differences = [abs(later - earlier) for earlier, later in itertools.pairwise(losses)]
    deviation = MEDIAN_TO_DEVIATION * statistics.median(differences) / math.sqrt(2)
    return (loss - median) / max(deviation, MIN_DEVIATION * abs(median), 1e-12)


def judge(
    step: int, loss: float, *, finite: bool, state: GuardState, config: GuardsConfig, max_skipped_steps: int
) -> Verdict:
    """What to do with a step, before its gradient moves anything.

    finite: whether loss and gradient are. `skip` as long as few steps of the window were left out; then `roll_back` to
    the anchor, where there is one, a bounded number of times; then `stop`.
    """
    if finite and (config.spike_z is None or robust_z(loss, state.losses) <= config.spike_z):
        return "train"
    recent = sum(skipped > step - config.window_steps for skipped in _since_rollback(state))
    if recent < max_skipped_steps:
        return "skip"
    if state.anchor is not None and len(state.left_out) < config.max_rollbacks:
        return "roll_back"
    return "stop"


def trained_on(loss: float, *, state: GuardState, config: GuardsConfig) -> GuardState:
    """The state after a step that moved the weights."""
    return state.model_copy(update={"losses": (*state.losses, loss)[-config.window_steps :]})


def skipped(step: int, *, state: GuardState) -> GuardState:
    """The state after a step that moved nothing."""
    return state.model_copy(update={"skipped": (*state.skipped, step)})


def rolled_back(step: int, *, state: GuardState, anchor: GuardState) -> GuardState:
    """The state after the weights went back because of `step`. anchor: the state when the anchor was written, whose
    losses are those of its weights."""
    assert state.anchor is not None
    return state.model_copy(
        update={"losses": anchor.losses, "left_out": (*state.left_out, (state.anchor, step))},
    )


def anchor_is_due(steps_done: int, *, state: GuardState, config: GuardsConfig) -> bool:
    """Whether the weights after so many steps are worth going back to: in a window without a step left out."""
    if not config.max_rollbacks or steps_done % config.anchor_every_steps or not steps_done:
        return False
    troubled = [*state.skipped, *(last for _, last in state.left_out)]
    return all(step < steps_done - config.window_steps for step in troubled)


def _since_rollback(state: GuardState) -> list[int]:
    last_undone = max((last for _, last in state.left_out), default=-1)
    return [step for step in state.skipped if step > last_undone]
