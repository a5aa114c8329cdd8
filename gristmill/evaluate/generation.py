"""Answers, token by token, from any causal transformers model, with its key-value cache.

Prompts that are the same are read once, rows that have ended leave the batch, and what a row draws depends on its own
seed: a prompt has the same sample alone and among others, as far as arithmetic on other shapes gives the same logits.
Shapes: B rows that still go on, T tokens, V token ids.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gristmill.evaluate.kv_cache import reserved_cache
from gristmill.evaluate.sampling import Sampler
from gristmill.evaluate.sampling_config import Sampling
from gristmill.evaluate.text_stream import TextStream
from gristmill.model.onednn import onednn_linears

GREEDY = Sampling()


@dataclass(frozen=True)
class Answer:
    """`ids` without the stop token, with the tokens that a stop string ends in; `stopped_by` is that token or string,
    None when `max_new_tokens` was reached."""

    ids: list[int]
    stopped_by: int | str | None


def answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: Sampling = GREEDY,
    seeds: Sequence[int] | None = None,
    stop: Sequence[str] = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
    rows_per_batch: int = 64,
) -> list[Answer]:
    """The answer to each prompt.

    seeds: one a prompt, for a temperature above 0. stop: texts that end an answer; they need the tokenizer. Raises
    ValueError when either is missing.
    """
    if stop and tokenizer is None:
        raise ValueError("stop strings are found in text: give the tokenizer too")
    found: dict[int, Answer] = {}
    by_length = sorted(
        range(len(prompts)), key=lambda number: len(prompts[number])
    )  # a batch is as long as its longest
    for first in range(0, len(by_length), rows_per_batch):
        numbers = by_length[first : first + rows_per_batch]
        ids: list[list[int]] = [[] for _ in numbers]
        texts = [TextStream(tokenizer, stop) for _ in numbers] if tokenizer and stop else []
        steps = decode(
            model,
            [prompts[number] for number in numbers],
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            sampling=sampling,
            seeds=None if seeds is None else [seeds[number] for number in numbers],
            ended=lambda row, token, texts=texts: bool(texts) and texts[row].ends_with(token),
        )
        for tokens in steps:
            for row, token in enumerate(tokens):
                if token is not None:
                    ids[row].append(token)
        for row, number in enumerate(numbers):
            stopped_by: int | str | None = texts[row].stopped_by if texts else None
            if stopped_by is None and ids[row] and ids[row][-1] in stop_ids:
                stopped_by = ids[row].pop()
            found[number] = Answer(ids[row], stopped_by)
    return [found[number] for number in range(len(prompts))]


def greedy_answers(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, stop_ids: Collection[int]
) -> list[list[int]]:
    """The greedy completion of each prompt, without its stop token."""
    return [answer.ids for answer in answers(model, prompts, max_new_tokens=max_new_tokens, stop_ids=stop_ids)]


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: Sampling = GREEDY,
    seeds: Sequence[int] | None = None,
    ended: Callable[[int, int], bool] | None = None,
) -> Iterator[list[int | None]]:
    """Yield the next token of every prompt, step by step, None for one that has ended.

    A row ends with a stop token, when `ended(row, token)` says so of any other, or at `max_new_tokens`.
    """
    model.eval()
    sampler = Sampler(prompts, sampling, seeds=seeds, max_new_tokens=max_new_tokens)
    batch = _Batch(model, prompts, max_new_tokens)
    rows = list(range(len(prompts)))
    logits_BV = batch.read_prompts()
    for step in range(1, max_new_tokens + 1):
        next_B = sampler.choose(logits_BV)
        chosen = dict(zip(rows, next_B.tolist(), strict=True))
        yield [chosen.get(row) for row in range(len(prompts))]
        going = [
            place
            for place, (row, token) in enumerate(chosen.items())
            if token not in stop_ids and not (ended and ended(row, token))
        ]
        if not going or step == max_new_tokens:
            return
        if len(going) < len(rows):
            kept = torch.tensor(going, device=model.device)
            batch.keep(kept)
            sampler.keep(kept)
            next_B, rows = next_B[kept], [rows[place] for place in going]
        logits_BV = batch.step(next_B)


class _Batch:
    """The model's side of a batch: its cache, and which of its places hold tokens."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        self._model = model
        self._distinct = list(dict.fromkeys(map(tuple, prompts)))
        place = {prompt: number for number, prompt in enumerate(self._distinct)}
        self._copies_B = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=model.device)
        self._length = max(map(len, prompts))
        capacity = self._length + max_new_tokens
        self._cache = reserved_cache(model.config, capacity)
        # on the left, so that every row's next token stands at the end
        seen = [[0] * (self._length - len(prompt)) + [1] * (len(prompt) + max_new_tokens) for prompt in self._distinct]
        self._seen_BT = torch.tensor(seen, device=model.device)
        self._positions_BT = (self._seen_BT.cumsum(dim=1) - 1).clamp_min(0)

    def read_prompts(self) -> Tensor:
        """Logits [B, V] after each prompt."""
        padded = [[0] * (self._length - len(prompt)) + list(prompt) for prompt in self._distinct]
        logits_BV = self._forward(torch.tensor(padded, device=self._model.device), 0)
        if len(self._copies_B) > len(self._distinct):
            self.keep(self._copies_B)
            logits_BV = logits_BV[self._copies_B]
        return logits_BV

    def step(self, next_B: Tensor) -> Tensor:
        """Logits [B, V] after one more token of each row."""
        self._length += 1
        return self._forward(next_B[:, None], self._length - 1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows; one named twice becomes two."""
        self._cache.batch_select_indices(rows)
        self._seen_BT, self._positions_BT = self._seen_BT[rows], self._positions_BT[rows]

    def _forward(self, ids_BT: Tensor, start: int) -> Tensor:
        with onednn_linears(self._model):
            output = self._model(
                input_ids=ids_BT,
                attention_mask=self._seen_BT[:, : self._length],
                position_ids=self._positions_BT[:, start : self._length],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1]


def stop_ids(model: PreTrainedModel) -> set[int]:
    """Tokens that end an answer, by the model's generation configuration."""
    assert model.generation_config is not None
    ends = model.generation_config.eos_token_id
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)
