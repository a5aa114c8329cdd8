"""Which tokens of a row are hidden from a masked language model (BERT; Devlin et al. 2019, arXiv:1810.04805).

A pure function of the dataset's digest, the seed, the step and the row's number: a resumed run hides the same tokens,
and so do several processes together. Special tokens and padding are never hidden. Left out: whole words at once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gristmill.tokens.reader import TokenShards

MASKED_RATIO = 0.15
REPLACED, RANDOM = 0.8, 0.1
"""Of the tokens to guess, the shares that are shown as the mask and as a random token; the rest stay as they are."""


@dataclass(frozen=True)
class Masking:
    """How rows of one dataset are hidden."""

    mask_id: int
    digest: str
    seed: int
    is_text: NDArray[np.bool_]
    """[vocab_size]: whether a token stands for text."""

    @classmethod
    def of(cls, shards: TokenShards, *, mask_id: int, seed: int = 0) -> "Masking":
        return cls(mask_id, shards.meta["digest"], seed, shards.token_bytes > 0)

    def for_training(
        self, rows: NDArray[np.int64], numbers: Sequence[int] | NDArray[np.integer], *, step: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """What the model sees of rows [n, T], and which tokens it has to guess [n, T]: 15 % of those that are text, at
        least one a row. 80 % of them are the mask, 10 % a random token, 10 % what they are. numbers: [n], of the rows.
        """
        seen, guessed = rows.copy(), np.zeros(rows.shape, bool)
        text_ids = np.flatnonzero(self.is_text)
        for row, number in enumerate(numbers):
            keys, kinds, others = self._draws(f"{self.seed}:{step}:{number}", 3, rows.shape[1])
            guessed[row] = self._chosen(rows[row], keys)
            kind = kinds / 2.0**64
            seen[row, guessed[row] & (kind < REPLACED)] = self.mask_id
            random = guessed[row] & (kind >= REPLACED) & (kind < REPLACED + RANDOM)
            seen[row, random] = text_ids[others[random] % len(text_ids)]
        return seen, guessed

    def for_validation(
        self, rows: NDArray[np.int64], numbers: Sequence[int] | NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The same, but every token to guess is shown as the mask, and the same ones whatever the seed."""
        guessed = np.zeros(rows.shape, bool)
        for row, number in enumerate(numbers):
            (keys,) = self._draws(f"validation:{number}", 1, rows.shape[1])
            guessed[row] = self._chosen(rows[row], keys)
        return np.where(guessed, self.mask_id, rows), guessed

    def _draws(self, name: str, *shape: int) -> NDArray[np.uint64]:
        entropy = hashlib.sha256(f"{self.digest}:mask:{name}".encode()).digest()
        # the raw stream of a bit generator is the same in every version of numpy
        return np.random.PCG64(int.from_bytes(entropy, "big")).random_raw(int(np.prod(shape))).reshape(shape)

    def _chosen(self, row: NDArray[np.int64], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """The text tokens with the smallest keys: a simple random sample."""
        places = np.flatnonzero(self.is_text[row])
        count = max(1, round(MASKED_RATIO * len(places)))
        chosen = np.zeros(len(row), bool)
        chosen[places[np.argsort(keys[places], kind="stable")[:count]]] = True
        return chosen
