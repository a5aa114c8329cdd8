"""A prompt, and completions that may follow it: what log-probabilities and preferences are about."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Branches:
    """Token ids of a prompt (at least one) and of completions that may follow it."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]
    fault: str | None = None
    """What is wrong with the second of a pair, where that is known."""
    row: str | None = None
    """File and number of the row it was read from."""

    @property
    def length(self) -> int:
        return len(self.prompt) + sum(len(completion) for completion in self.completions)
