"""Choosing each row's next token: what a row draws depends on its logits and its own seed, not on its batch.

Shapes: B rows that still go on, V token ids.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gristmill.evaluate.sampling_config import Sampling

_CANDIDATES = 1024  # sorting a whole vocabulary takes as long as a small model's step
_PARTS = 2**40
"""Probabilities are added up as whole numbers of such parts: no GPU adds up floats in one order every time."""


class Sampler:
    """Chooses token after token for a batch of rows."""

    def __init__(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seeds: Sequence[int] | None, max_new_tokens: int
    ) -> None:
        """seeds: one a row; needed unless the choice is greedy. Raises ValueError without them."""
        self.sampling = sampling
        self._prompts = prompts
        self._used_BV: Tensor | None = None
        self._step = 0
        if sampling.temperature and (seeds is None or len(seeds) != len(prompts)):
            raise ValueError(
                f"temperature={sampling.temperature} draws at random: give seeds, one for each of "
                f"{len(prompts)} prompts"
            )
        drawn = [np.random.Generator(np.random.PCG64(seed)).random(max_new_tokens) for seed in seeds or ()]
        self._uniform_BT = torch.from_numpy(np.stack(drawn)) if sampling.temperature else None

    def choose(self, logits_BV: Tensor) -> Tensor:
        """Token ids [B] from the logits of this step."""
        sampling, logits_BV = self.sampling, logits_BV.float()
        if sampling.repetition_penalty != 1:
            logits_BV = penalize_repetition(logits_BV, self._used(logits_BV), sampling.repetition_penalty)
        if self._uniform_BT is None:
            next_B = logits_BV.argmax(dim=-1)
        else:
            logits_BV = logits_BV / sampling.temperature
            if sampling.top_k is not None:
                logits_BV = keep_top_k(logits_BV, sampling.top_k)
            if sampling.top_p < 1:
                logits_BV = keep_top_p(logits_BV, sampling.top_p)
            self._uniform_BT = self._uniform_BT.to(logits_BV.device)
            next_B = draw(logits_BV, self._uniform_BT[:, self._step])
        if self._used_BV is not None:
            self._used_BV.scatter_(1, next_B[:, None], True)
        self._step += 1
        return next_B

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        if self._uniform_BT is not None:
            self._uniform_BT = self._uniform_BT[rows]
        if self._used_BV is not None:
            self._used_BV = self._used_BV[rows]

    def _used(self, logits_BV: Tensor) -> Tensor:
        if self._used_BV is None:
            self._used_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
            for row, prompt in enumerate(self._prompts):
                self._used_BV[row, list(prompt)] = True
        return self._used_BV


def penalize_repetition(logits_BV: Tensor, used_BV: Tensor, penalty: float) -> Tensor:
    """Logits with those of used tokens moved down: divided where positive, multiplied where negative."""
    return logits_BV.where(~used_BV, torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty))


def keep_top_k(logits_BV: Tensor, top_k: int) -> Tensor:
    """Logits with all but the `top_k` largest of each row at minus infinity."""
    least_B1 = logits_BV.topk(min(top_k, logits_BV.shape[-1]), dim=-1).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)


def keep_top_p(logits_BV: Tensor, top_p: float) -> Tensor:
    """Logits with all at minus infinity but the fewest largest that have the probability `top_p` together."""
    probabilities_BV = logits_BV.softmax(dim=-1)
    sums_BC = None
    for candidates in (_CANDIDATES, logits_BV.shape[-1]):
        largest_BC = probabilities_BV.topk(min(candidates, logits_BV.shape[-1]), dim=-1).values
        sums_BC = _sums(largest_BC)
        if bool((sums_BC[:, -1] >= top_p * _PARTS).all()):
            break
    assert sums_BC is not None
    enough_B1 = (sums_BC < top_p * _PARTS).sum(dim=-1, keepdim=True).clamp_max(sums_BC.shape[-1] - 1)
    return logits_BV.masked_fill(probabilities_BV < largest_BC.gather(1, enough_B1), -torch.inf)


def draw(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Token ids [B] by inverting each row's distribution function at uniform_B, float64 in [0, 1).

    Raises FloatingPointError where a row has no finite probabilities.
    """
    sums_BV = _sums(logits_BV.softmax(dim=-1))
    if not bool((sums_BV[:, -1] > 0).all()):
        raise FloatingPointError("the model's logits are not finite, so no token can be drawn; its weights are broken")
    return torch.searchsorted(sums_BV, (uniform_B[:, None] * sums_BV[:, -1:]).long(), right=True)[:, 0]


def _sums(probabilities: Tensor) -> Tensor:
    """Of each row's first probabilities, int64, in parts."""
    return (probabilities * _PARTS).long().cumsum(dim=-1)
