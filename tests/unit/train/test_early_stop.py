import math

import pytest
from pydantic import ValidationError

from gristmill.train.config import PretrainConfig
from gristmill.train.early_stop import is_gain, is_over
from gristmill.train.loop_config import EarlyStopConfig

CONFIG = EarlyStopConfig(patience=2, min_delta=0.01)


def test_a_gain_beats_the_best_by_more_than_the_least_that_counts():
    assert is_gain(9.0, best=None, config=CONFIG)
    assert is_gain(1.98, best=2.0, config=CONFIG)
    assert not is_gain(1.995, best=2.0, config=CONFIG)
    assert is_gain(1.995, best=2.0, config=None)
    assert not is_gain(math.nan, best=2.0, config=None)


def test_patience_ends_after_so_many_measurements():
    assert [is_over(count, CONFIG) for count in (0, 1, 2)] == [False, False, True]
    assert not is_over(100, None)


def test_the_best_checkpoint_has_to_be_kept_to_be_the_result():
    with pytest.raises(ValidationError, match="keep_best has to be true"):
        PretrainConfig(early_stop=CONFIG, keep_best=False)


def test_a_phase_without_steps_is_refused():
    anneal = {"artifact": "tokens/tokenize-0123456789ab"}
    with pytest.raises(ValidationError, match="give anneal a share"):
        PretrainConfig.model_validate({"anneal": anneal, "schedule": {"decay_ratio": 0}})
    by_decay = PretrainConfig.model_validate({"anneal": anneal, "schedule": {"decay_ratio": 0.3}})
    assert by_decay.anneal_share() == 0.3
    assert PretrainConfig.model_validate({"anneal": anneal | {"share": 0.1}}).anneal_share() == 0.1
