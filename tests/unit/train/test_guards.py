"""The guards' decisions, as functions of losses and state."""

import random

import numpy as np
import pytest
from scipy.stats import median_abs_deviation, norm

from gristmill.train.guards import (
    MIN_LOSSES,
    GuardState,
    anchor_is_due,
    robust_z,
    rolled_back,
    skipped,
    trained_on,
)
from gristmill.train.guards import judge as judge_step
from gristmill.train.loop_config import GuardsConfig


def judge(step: int, loss: float, *, max_skipped_steps: int = 3, finite: bool, state: GuardState, config: GuardsConfig):
    return judge_step(step, loss, finite=finite, state=state, config=config, max_skipped_steps=max_skipped_steps)


def noise(count: int, seed: int = 0) -> tuple[float, ...]:
    draws = random.Random(seed)
    return tuple(3.0 + draws.gauss(0, 0.1) for _ in range(count))


def test_deviations_are_those_of_scipy():
    losses = noise(61)
    # of differences d and their mirror images −d the median is 0
    differences = np.concatenate([np.diff(losses), -np.diff(losses)])
    deviation = median_abs_deviation(differences, scale=float(norm.ppf(0.75)))  # scipy: that of a normal distribution
    expected = (4.2 - np.median(losses)) / (deviation / np.sqrt(2))
    assert robust_z(4.2, losses) == pytest.approx(expected, rel=1e-4)


def test_the_deviation_of_noise_is_found_below_a_trend():
    losses = tuple(draw + 6 - 0.05 * step for step, draw in enumerate(noise(120)))
    median = float(np.median(losses))
    assert robust_z(median + 1.0, losses) == pytest.approx(1.0 / 0.1, rel=0.3)


def test_on_a_plateau_a_small_step_up_is_no_spike():
    assert robust_z(3.03, (3.0,) * 60) == pytest.approx(1.0)


def test_spikes_in_the_window_do_not_hide_the_next_one():
    calm, troubled = noise(60), (*noise(50), *(50.0,) * 10)
    assert robust_z(50.0, troubled) > 0.5 * robust_z(50.0, calm) > 10


def test_few_losses_are_no_ground_to_judge_on():
    assert judge(5, 1e6, finite=True, state=GuardState(losses=noise(MIN_LOSSES - 1)), config=GuardsConfig()) == "train"
    assert judge(5, 1e6, finite=True, state=GuardState(losses=noise(MIN_LOSSES)), config=GuardsConfig()) == "skip"


def test_a_loss_that_falls_is_no_spike_and_only_what_is_not_finite_is_without_a_threshold():
    state = GuardState(losses=noise(60))
    assert judge(60, 0.1, finite=True, state=state, config=GuardsConfig()) == "train"
    lenient = GuardsConfig(spike_z=None)
    assert judge(60, 1e6, finite=True, state=state, config=lenient) == "train"
    assert judge(60, float("nan"), finite=False, state=state, config=lenient) == "skip"


def test_spikes_are_left_out_then_taken_back_then_end_the_run():
    config = GuardsConfig(max_rollbacks=1, window_steps=10)
    state, verdicts = GuardState(losses=noise(60), anchor=50), []
    for step in range(60, 66):
        verdict = judge(step, 99.0, finite=True, state=state, config=config, max_skipped_steps=2)
        verdicts.append(verdict)
        if verdict == "skip":
            state = skipped(step, state=state)
        elif verdict == "roll_back":
            state = rolled_back(step, state=state, anchor=GuardState(losses=noise(40)))
            assert state.losses == noise(40)
            assert state.left_out == ((50, 62),)
    assert verdicts == ["skip", "skip", "roll_back", "skip", "skip", "stop"]
    assert state.steps_without_effect == len(set(range(50, 63)) | {63, 64})


def test_without_an_anchor_there_is_nowhere_to_go_back_to():
    told = {"finite": False, "config": GuardsConfig(), "max_skipped_steps": 0}
    assert judge(9, 1.0, state=GuardState(), **told) == "stop"
    assert judge(9, 1.0, state=GuardState(anchor=5), **told) == "roll_back"


def test_steps_left_out_long_ago_do_not_count():
    told = {"finite": True, "config": GuardsConfig(window_steps=10), "max_skipped_steps": 1}
    state = GuardState(losses=noise(60), skipped=(50,))
    assert judge(59, 99.0, state=state, **told) == "stop"
    assert judge(60, 99.0, state=state, **told) == "skip"


def test_the_window_holds_the_last_losses():
    state = GuardState()
    for loss in range(7):
        state = trained_on(float(loss), state=state, config=GuardsConfig(window_steps=3))
    assert state.losses == (4.0, 5.0, 6.0)


def test_anchors_are_written_at_fixed_steps_away_from_trouble():
    config = GuardsConfig(anchor_every_steps=10, window_steps=5)
    due = [step for step in range(41) if anchor_is_due(step, state=GuardState(), config=config)]
    assert due == [10, 20, 30, 40]
    for troubled in (GuardState(skipped=(17,)), GuardState(left_out=((10, 17),))):
        assert [step for step in due[1:] if anchor_is_due(step, state=troubled, config=config)] == [30, 40]
    assert not anchor_is_due(10, state=GuardState(), config=GuardsConfig(anchor_every_steps=10, max_rollbacks=0))


def test_the_state_survives_json_bit_by_bit():
    state = GuardState(losses=noise(60), skipped=(3,), left_out=((1, 2),), anchor=1)
    assert GuardState.model_validate_json(state.model_dump_json()) == state
