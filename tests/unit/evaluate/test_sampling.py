import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gristmill.evaluate.sampling import Sampler, draw, keep_top_k, keep_top_p, penalize_repetition
from gristmill.evaluate.sampling_config import Sampling

NO_IDS = torch.zeros(1, 0, dtype=torch.long)


def logits(rows: int, size: int, *, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("top_k", [1, 5, 200, 999])
def test_top_k_is_that_of_transformers(top_k: int):
    given = logits(4, 200)
    assert torch.equal(keep_top_k(given, top_k), TopKLogitsWarper(top_k)(NO_IDS, given))  # pyright: ignore


@pytest.mark.parametrize("size", [50, 5000])
@pytest.mark.parametrize("scale", [0.001, 1.0, 8.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_is_that_of_transformers(size: int, scale: float, top_p: float):
    given = logits(6, size, scale=scale).double()  # their running sum is in the logits' precision
    assert torch.equal(keep_top_p(given, top_p), TopPLogitsWarper(top_p)(NO_IDS, given))  # pyright: ignore


def test_the_repetition_penalty_is_that_of_transformers():
    given = logits(2, 50)
    ids = torch.tensor([[1, 2, 2, 30], [7, 7, 8, 49]])
    used = torch.zeros(2, 50, dtype=torch.bool).scatter(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(1.5)(ids, given)  # pyright: ignore
    assert torch.equal(penalize_repetition(given, used, 1.5), expected)


def test_all_of_them_are_in_the_order_of_transformers_step_after_step():
    """The draws of thousands of seeds have the frequencies of transformers' processed logits."""
    given, rows = logits(1, 12, scale=1.5), 40_000
    sampling = Sampling(temperature=0.8, top_k=8, top_p=0.9, repetition_penalty=1.4)
    sampler = Sampler([[3, 5]] * rows, sampling, seeds=range(rows), max_new_tokens=2)
    theirs = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.4),
            TemperatureLogitsWarper(0.8),
            TopKLogitsWarper(8),
            TopPLogitsWarper(0.9),
        ]
    )
    first = sampler.choose(given.expand(rows, -1))
    expected = theirs(torch.tensor([[3, 5]]), given).softmax(-1)[0]  # pyright: ignore
    assert torch.allclose(torch.bincount(first, minlength=12) / rows, expected, atol=0.01)
    second = sampler.choose(given.expand(rows, -1))
    token = int(first.mode().values)
    after = second[first == token]
    expected = theirs(torch.tensor([[3, 5, token]]), given).softmax(-1)[0]  # pyright: ignore
    assert torch.allclose(torch.bincount(after, minlength=12) / len(after), expected, atol=0.02)


def test_a_draw_inverts_the_distribution_function_and_never_takes_what_was_removed():
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]])
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert draw(probabilities.log().expand(6, -1), uniform).tolist() == [1, 1, 3, 3, 4, 4]


def test_rows_that_are_kept_go_on_with_their_own_seeds():
    given, sampling = logits(1, 500, scale=0.1).expand(4, -1), Sampling(temperature=1.0)
    whole = Sampler([[0]] * 4, sampling, seeds=[1, 2, 3, 4], max_new_tokens=3)
    part = Sampler([[0]] * 4, sampling, seeds=[1, 2, 3, 4], max_new_tokens=3)
    assert torch.equal(whole.choose(given), part.choose(given))
    kept = torch.tensor([3, 1])
    part.keep(kept)
    assert torch.equal(whole.choose(given)[kept], part.choose(given[:2]))


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"repetition_penalty": 0.0}])
def test_settings_without_a_meaning_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_from_logits_that_are_not_finite_nothing_is_drawn():
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, float("nan"), 2.0]])
    with pytest.raises(FloatingPointError, match="not finite"):
        draw(logits, torch.tensor([0.5, 0.5], dtype=torch.float64))
