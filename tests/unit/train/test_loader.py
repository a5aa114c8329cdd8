import numpy as np
import pytest

from gristmill.tokens.reader import TokenShards
from gristmill.train.loader import BatchLoader


@pytest.fixture
def shards(token_folder):
    return TokenShards(token_folder)


def test_each_epoch_holds_every_row_once_in_an_order_of_its_own(shards):
    loader = BatchLoader(shards, batch_rows=11, seed=3)
    first, second = (np.concatenate([loader.row_indices(step) for step in steps]) for steps in ((0, 1), (2, 3)))
    assert sorted(first) == sorted(second) == list(range(22))
    assert list(first) != list(second)


def test_a_batch_across_the_end_of_an_epoch_takes_the_rest_and_goes_on(shards):
    loader = BatchLoader(shards, batch_rows=4, seed=3)
    drawn = np.concatenate([loader.row_indices(step) for step in range(11)])
    assert sorted(drawn[:22]) == sorted(drawn[22:]) == list(range(22))


def test_a_step_can_be_read_without_those_before_it(shards):
    walked = BatchLoader(shards, batch_rows=4, seed=3)
    in_order = [walked.read(step) for step in range(9)]
    assert np.array_equal(BatchLoader(shards, batch_rows=4, seed=3).read(8), in_order[8])


def test_the_slices_of_all_processes_make_the_batch_of_one(shards):
    alone = BatchLoader(shards, batch_rows=6, seed=3)
    shares = [BatchLoader(shards, batch_rows=6, seed=3, rank=rank, world=3).read(1) for rank in range(3)]
    assert np.array_equal(np.concatenate(shares), alone.read(1))


def test_another_seed_gives_another_order(shards):
    one, other = (BatchLoader(shards, batch_rows=22, seed=seed).row_indices(0) for seed in (1, 2))
    assert list(one) != list(other)
