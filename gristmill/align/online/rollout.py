"""Answers sampled from the policy: a prompt is read once, its answers go on from there together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel

from gristmill.align.online.prompts import Prompt
from gristmill.evaluate.generation import decode
from gristmill.evaluate.sampling_config import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True)
class Answer:
    """One answer to a prompt. ids: its tokens, the one that ended it included."""

    prompt: Prompt
    ids: tuple[int, ...]
    text: str
    finished: bool
    """Whether it ended by itself."""


@dataclass(frozen=True)
class Endings:
    """What ends an answer: the model's own end tokens, and the tokens that spell `stop`."""

    tokens: frozenset[int]
    stop: str | None

    @classmethod
    def of(cls, tokenizer: "Tokenizer", own: Sequence[int], stop: str | None) -> "Endings":
        """own: the model's end tokens. A stop text of several tokens ends the answer's text, and the row with it."""
        if stop is None:
            return cls(frozenset(own), None)
        spelled = [token for token in range(len(tokenizer)) if stop in str(tokenizer.decode([token]))]
        return cls(frozenset((*own, *spelled)), stop)


def sample(
    policy: PreTrainedModel,
    tokenizer: "Tokenizer",
    prompts: Sequence[Prompt],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    endings: Endings,
    seed: int,
) -> list[Answer]:
    """`group_size` answers to each prompt, a prompt's answers next to each other; temperature 0: the greedy one."""
    asked = [prompt for prompt in prompts for _ in range(group_size)]
    was_training = policy.training
    ids: list[list[int]] = [[] for _ in asked]
    steps = decode(
        policy,
        [prompt.ids for prompt in asked],
        max_new_tokens=max_new_tokens,
        stop_ids=endings.tokens,
        sampling=Sampling(temperature=temperature),
        seeds=np.random.SeedSequence(seed).generate_state(len(asked)).tolist() if temperature else None,
    )
    for tokens in steps:
        for row, token in enumerate(tokens):
            if token is not None:
                ids[row].append(token)
    policy.train(was_training)
    return [_answer(prompt, row, tokenizer, endings) for prompt, row in zip(asked, ids, strict=True)]


def _answer(prompt: Prompt, ids: list[int], tokenizer: "Tokenizer", endings: Endings) -> Answer:
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    if endings.stop is not None and endings.stop in text:
        text = text[: text.index(endings.stop)]
    return Answer(prompt, tuple(ids), text, finished=ids[-1] in endings.tokens)
