import math

import pytest
import torch

from gristmill.train.config import ScheduleConfig
from gristmill.train.schedule import lr_multiplier


def multipliers(steps, **fields):
    config = ScheduleConfig(**fields)
    return [lr_multiplier(step, steps=steps, config=config) for step in range(steps)]


def test_warm_up_stable_and_linear_decay_follow_one_another():
    assert multipliers(10, warmup_steps=2, decay_ratio=0.4) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_decay_ends_at_the_given_share():
    last = multipliers(1000, warmup_steps=0, decay_ratio=1.0, final_lr_ratio=0.1)[-1]
    assert last == pytest.approx(0.1 + 0.9 / 1000)


def test_without_decay_the_rate_stays():
    assert multipliers(3, warmup_steps=0, decay_ratio=0.0) == [1, 1, 1]


def test_where_warm_up_and_decay_overlap_the_smaller_rate_holds():
    assert multipliers(4, warmup_steps=4, decay_ratio=1.0) == pytest.approx([0.25, 0.5, 0.5, 0.25])


def test_cosine_falls_along_half_a_wave_after_the_warm_up():
    rates = multipliers(10, kind="cosine", warmup_steps=2, final_lr_ratio=0.1)
    assert rates[:3] == pytest.approx([0.5, 1, 1])
    assert rates[6] == pytest.approx(0.1 + 0.9 / 2)  # halfway: cos(π/2) = 0
    assert rates[9] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 7 / 8)) / 2)
    assert rates[1:] == sorted(rates[1:], reverse=True)


def test_cosine_is_that_of_torch():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for ours in multipliers(20, kind="cosine", warmup_steps=0):
        assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
