"""Answers sampled from the policy: a prompt is read once, its answers go on from there together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from transformers import PreTrainedModel

from gristmill.align.online.prompts import Prompt
from gristmill.evaluate.generation import decode, greedy, sampler

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
    choose = sampler(temperature=temperature, seed=seed) if temperature else greedy
    was_training = policy.training
    steps = decode(
        policy,
        [prompt.ids for prompt in asked],
        max_new_tokens=max_new_tokens,
        stop_ids=endings.tokens,
        choose=choose,
    )
    columns = list(steps)
    policy.train(was_training)
    return [
        _answer(prompt, [column[row] for column in columns], tokenizer, endings) for row, prompt in enumerate(asked)
    ]


def _answer(prompt: Prompt, sampled: list[int], tokenizer: "Tokenizer", endings: Endings) -> Answer:
    end = next((place for place, token in enumerate(sampled) if token in endings.tokens), None)
    ids = sampled if end is None else sampled[: end + 1]
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    if endings.stop is not None and endings.stop in text:
        text = text[: text.index(endings.stop)]
    return Answer(prompt, tuple(ids), text, end is not None)


def grouped(values: Tensor, group_size: int) -> Tensor:
    """[C] → [P, G]"""
    return values.reshape(-1, group_size)
