"""Answers sampled from the policy: a prompt is read once, its answers go on from there together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel

from gristmill.align.online.prompts import Prompt
from gristmill.evaluate.generation import decode
from gristmill.evaluate.sampling_config import Sampling
from gristmill.evaluate.text_stream import TextStream

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
    """What ends an answer: the model's own end tokens, and a text that is no part of it."""

    tokens: frozenset[int]
    stop: str | None = None


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
    ids: list[list[int]] = [[] for _ in asked]
    texts = [TextStream(tokenizer, [endings.stop]) for _ in asked] if endings.stop else []
    steps = decode(
        policy,
        [prompt.ids for prompt in asked],
        max_new_tokens=max_new_tokens,
        stop_ids=endings.tokens,
        sampling=Sampling(temperature=temperature),
        ended=lambda row, token: bool(texts) and texts[row].ends_with(token),
        seeds=np.random.SeedSequence(seed).generate_state(len(asked)).tolist() if temperature else None,
    )
    for tokens in steps:
        for row, token in enumerate(tokens):
            if token is not None:
                ids[row].append(token)
    return [_answer(prompt, row, tokenizer, endings) for prompt, row in zip(asked, ids, strict=True)]


def _answer(prompt: Prompt, ids: list[int], tokenizer: "Tokenizer", endings: Endings) -> Answer:
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    text, stopped = (text, False) if endings.stop is None else _cut(text, endings.stop)
    return Answer(prompt, tuple(ids), text, finished=stopped or ids[-1] in endings.tokens)


def _cut(text: str, stop: str) -> tuple[str, bool]:
    """The text before the stop text, and whether it is there."""
    before, found, _ = text.partition(stop)
    return before, bool(found)
