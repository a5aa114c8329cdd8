"""Answers, token by token, from any causal transformers model, with its key-value cache."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

Choose = Callable[[Tensor], Tensor]


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    choose: Choose,
) -> Iterator[list[int]]:
    """Yield the next token of every prompt, step by step, until each has stopped or `max_new_tokens` is reached.

    `choose` maps logits [B, V] to token ids [B]. After its stop token a row goes on with meaningless tokens.
    """
    model.eval()
    longest = max(len(prompt) for prompt in prompts)
    # on the left, so that every row's next token stands at the end
    ids_BT = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    seen_BT = torch.tensor(
        [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device
    )
    positions_BT = (seen_BT.cumsum(dim=1) - 1).clamp_min(0)
    cache, running = None, torch.ones(len(prompts), dtype=torch.bool)
    stops = torch.tensor(sorted(stop_ids))
    for _ in range(max_new_tokens):
        output = model(
            input_ids=ids_BT,
            attention_mask=seen_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        next_B = choose(output.logits[:, -1].float())
        yield next_B.tolist()
        running &= ~torch.isin(next_B.cpu(), stops)
        if not running.any():
            return
        ids_BT, positions_BT = next_B[:, None], positions_BT[:, -1:] + 1
        seen_BT = torch.cat([seen_BT, seen_BT.new_ones(len(prompts), 1)], dim=1)


def greedy(logits_BV: Tensor) -> Tensor:
    """The likeliest token of each row."""
    return logits_BV.argmax(dim=-1)


def sampler(*, temperature: float, seed: int) -> Choose:
    """Tokens drawn from softmax(logits / temperature); temperature 0 is greedy. Same seed, same tokens."""
    if temperature == 0:
        return greedy
    generator = torch.Generator().manual_seed(seed)

    def choose(logits_BV: Tensor) -> Tensor:
        probabilities = (logits_BV / temperature).softmax(dim=-1).cpu()
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(logits_BV.device)

    return choose


def greedy_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    rows_per_batch: int = 64,
) -> list[list[int]]:
    """The greedy completion of each prompt, without its stop token."""
    answers: list[list[int]] = []
    for first in range(0, len(prompts), rows_per_batch):
        batch = prompts[first : first + rows_per_batch]
        steps = list(decode(model, batch, max_new_tokens=max_new_tokens, stop_ids=stop_ids, choose=greedy))
        answers += [_until_stop(list(tokens), stop_ids) for tokens in zip(*steps, strict=True)]
    return answers


def stop_ids(model: PreTrainedModel) -> set[int]:
    """Tokens that end an answer, by the model's generation configuration."""
    assert model.generation_config is not None
    ends = model.generation_config.eos_token_id
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)


def _until_stop(tokens: list[int], stop_ids: Collection[int]) -> list[int]:
    stop = next((place for place, token in enumerate(tokens) if token in stop_ids), len(tokens))
    return tokens[:stop]
