import numpy as np
import pytest

from gristmill.tokens.masking import Masking

MASK, BOS, PAD, FIRST = 3, 1, 2, 4
IS_TEXT = np.array([False] * FIRST + [True] * 96)


def masking(**fields) -> Masking:
    return Masking(**{"mask_id": MASK, "digest": "d", "seed": 0, "is_text": IS_TEXT, **fields})


def rows(count: int, length: int) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(FIRST, 100, (count, length))
    drawn[:, 0] = BOS
    drawn[-1, length // 2 :] = PAD
    return drawn


def test_a_rows_masks_do_not_depend_on_the_rows_beside_it():
    numbers = [7, 3, 9, 4]
    whole = masking().for_training(rows(4, 40), numbers, step=5)
    one = masking().for_training(rows(4, 40)[2:3], [9], step=5)
    for all_rows, one_row in zip(whole, one, strict=True):
        assert np.array_equal(all_rows[2:3], one_row)


@pytest.mark.parametrize(
    ("fields", "numbers", "step"), [({}, [0], 1), ({}, [1], 0), ({"seed": 1}, [0], 0), ({"digest": "e"}, [0], 0)]
)
def test_another_step_row_seed_or_dataset_hides_other_tokens(fields, numbers, step):
    row = np.full((1, 200), FIRST)
    _, first = masking().for_training(row, [0], step=0)
    _, other = masking(**fields).for_training(row, numbers, step=step)
    assert first.sum() == other.sum() == 30  # 15 % of 200
    assert not np.array_equal(first, other)


def test_only_text_is_guessed_fifteen_in_a_hundred_of_it_and_at_least_one_token_a_row():
    seen, guessed = masking().for_training(rows(3, 41), [0, 1, 2], step=0)
    assert not guessed[~IS_TEXT[rows(3, 41)]].any()
    assert guessed.sum(axis=1).tolist() == [6, 6, 3]  # of 40, 40 and 19 text tokens
    assert np.array_equal(seen[~guessed], rows(3, 41)[~guessed])
    _, short = masking().for_training(np.array([[BOS, FIRST, PAD, PAD]]), [0], step=0)
    assert short.tolist() == [[False, True, False, False]]


def test_a_row_of_padding_hides_nothing():
    _, guessed = masking().for_training(np.full((1, 8), PAD), [0], step=0)
    assert not guessed.any()


def test_of_the_tokens_to_guess_eight_in_ten_are_masked_one_is_random_and_one_is_left():
    row = np.full((400, 200), FIRST)
    seen, guessed = masking().for_training(row, range(400), step=0)
    shown = seen[guessed]
    n = len(shown)
    assert n == 400 * 30
    random = (shown != MASK) & (shown != FIRST)
    # 4 standard deviations of a share of 12,000; one random token in 96 happens to be the right one
    assert (shown == MASK).mean() == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / n) ** 0.5)
    assert random.mean() == pytest.approx(0.1 * 95 / 96, abs=4 * (0.1 * 0.9 / n) ** 0.5)
    assert len(np.unique(shown[random])) == 95
    assert IS_TEXT[shown[random]].all()


def test_every_place_is_hidden_equally_often():
    _, guessed = masking().for_training(np.full((2000, 20), FIRST), range(2000), step=0)
    # 3 of 20 each: mean 300 of 2,000, standard deviation sqrt(2000 · .15 · .85) = 16
    assert guessed.sum(axis=0) == pytest.approx(300, abs=4 * 16)


def test_validation_shows_the_mask_alone_and_the_same_ones_for_every_seed():
    one, other = (masking(seed=seed).for_validation(rows(3, 41), [0, 1, 2]) for seed in (0, 1))
    assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    seen, guessed = one
    assert (seen[guessed] == MASK).all()
    assert np.array_equal(seen[~guessed], rows(3, 41)[~guessed])
