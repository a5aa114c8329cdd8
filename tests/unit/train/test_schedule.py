import pytest

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
