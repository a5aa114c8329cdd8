"""Log-probabilities of completions: several that follow one prompt are scored in one row, each blind to the others.

A row is the prompt, then all its completions one after the other; attention lets a completion see the prompt and
itself, and positions count on from the prompt's end for each. Same numbers as one row per completion, for less work.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gristmill.evaluate.bits_per_byte import logits_per_batch
from gristmill.evaluate.branches import Branches
from gristmill.model.documents import within_window
from gristmill.model.onednn import onednn_linears
from gristmill.progress import Bar

CPU_TOKENS_PER_BATCH = 1024  # larger ones leave the cache: a quarter slower
GPU_TOKENS_PER_BATCH = 32_768


@torch.no_grad()
def completion_logps(
    model: PreTrainedModel, branches: Sequence[Branches], *, bar: Bar | None = None
) -> list[list[float]]:
    """ln p(completion | prompt) in nats, summed over the completion's tokens: one list for each prompt, in order."""
    was_training = model.training
    model.eval()
    result: list[list[float]] = [[] for _ in branches]
    with onednn_linears(model):
        for chosen in _batches(branches, max_tokens=_tokens_per_batch(model)):
            for index, logps in zip(chosen, _batch_logps(model, [branches[index] for index in chosen]), strict=True):
                result[index] = logps
            if bar:
                bar.advance(len(chosen))
    model.train(was_training)
    return result


def _tokens_per_batch(model: PreTrainedModel) -> int:
    wanted = CPU_TOKENS_PER_BATCH if model.device.type == "cpu" else GPU_TOKENS_PER_BATCH
    return min(wanted, logits_per_batch(model.device) // model.config.get_text_config().vocab_size)


def _batches(branches: Sequence[Branches], *, max_tokens: int) -> list[list[int]]:
    """Indices, longest first, in batches of at most `max_tokens` with padding (or of one row)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(branches)), key=lambda index: -branches[index].length):
        if batches and branches[batches[-1][0]].length * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _batch_logps(model: PreTrainedModel, batch: list[Branches]) -> list[list[float]]:
    rows = lay_out(batch)
    logits_NV = forward(model, rows)[0].float()
    at_target_N = logits_NV.gather(1, rows.targets_N.to(model.device)[:, None])[:, 0]
    logps_N = (at_target_N - logits_NV.logsumexp(dim=1)).double().cpu()
    completions = sum(len(row.completions) for row in batch)
    sums = torch.zeros(completions, dtype=torch.float64).index_add_(0, rows.completion_N, logps_N).tolist()
    taken = iter(sums)
    return [[next(taken) for _ in row.completions] for row in batch]


def forward(model: PreTrainedModel, rows: "BranchRows") -> tuple[Tensor, Tensor]:
    """Logits of what predicts each scored token, [N, V], and the hidden states behind them, [N, D].

    The model's own forward pass, so that what it does to logits (a cap, a scale) is in them; its head sees only those
    positions.
    """
    sources_N = rows.sources_N.to(model.device)
    seen: list[Tensor] = []

    def only_sources(head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        seen.append(inputs[0].flatten(0, 1)[sources_N])
        return (seen[0],)

    mask = rows.mask(model.dtype, model.device)
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Module), f"{type(model).__name__} says nothing of its head"
    with head.register_forward_pre_hook(only_sources):
        logits_NV = model(
            input_ids=rows.ids_BT.to(model.device),
            attention_mask=within_window(mask, rows.positions_BT, model.config),  # pyright: ignore[reportArgumentType]
            position_ids=rows.positions_BT.to(model.device),
            use_cache=False,
            **({"output_router_logits": False} if hasattr(model.config, "output_router_logits") else {}),
        ).logits
    return logits_NV, seen[0]


@dataclass(frozen=True)
class BranchRows:
    """Prompts, each with its completions behind it, as a model takes them. B rows, T positions, N scored tokens."""

    ids_BT: Tensor
    positions_BT: Tensor
    branch_BT: Tensor
    """0: prompt, 1…: completions, -1: padding."""
    sources_N: Tensor
    """Position, in the flattened rows, whose logits predict the token."""
    targets_N: Tensor
    """The token."""
    completion_N: Tensor
    """The completion it belongs to, counted over all rows."""
    place_N: Tensor
    """Its place in that completion."""

    def mask(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """[B, 1, query, key], added to attention scores: 0 where a token may look, else the smallest number."""
        branch_BT = self.branch_BT.to(device)
        T = branch_BT.shape[1]
        earlier_TT = torch.ones(T, T, dtype=torch.bool, device=device).tril()
        queries, keys = branch_BT[:, :, None], branch_BT[:, None, :]
        seen_BTT = earlier_TT & ((keys == 0) | (keys == queries))
        scores_BTT = torch.zeros(seen_BTT.shape, dtype=dtype, device=device)
        return scores_BTT.masked_fill_(~seen_BTT, torch.finfo(dtype).min)[:, None]


def lay_out(batch: Sequence[Branches]) -> BranchRows:
    """Rows of equal length: attention lets a completion see its prompt and itself, and each counts positions on."""
    B, T = len(batch), max(row.length for row in batch)
    ids_BT = torch.zeros(B, T, dtype=torch.long)
    positions_BT = torch.zeros(B, T, dtype=torch.long)
    branch_BT = torch.full((B, T), -1)
    sources_N: list[int] = []
    targets_N: list[int] = []
    completion_N: list[int] = []
    place_N: list[int] = []
    completions = 0
    for row, branches in enumerate(batch):
        start = len(branches.prompt)
        ids_BT[row, :start] = torch.tensor(branches.prompt)
        positions_BT[row, :start] = torch.arange(start)
        branch_BT[row, :start] = 0
        prompt_end = row * T + start - 1
        for number, completion in enumerate(branches.completions, start=1):
            stop = start + len(completion)
            ids_BT[row, start:stop] = torch.tensor(completion, dtype=torch.long)
            positions_BT[row, start:stop] = torch.arange(len(completion)) + len(branches.prompt)
            branch_BT[row, start:stop] = number
            sources_N += [prompt_end, *range(row * T + start, row * T + stop - 1)][: len(completion)]
            targets_N += completion
            completion_N += [completions] * len(completion)
            place_N += range(len(completion))
            completions, start = completions + 1, stop
    numbers = (torch.tensor(values, dtype=torch.long) for values in (sources_N, targets_N, completion_N, place_N))
    return BranchRows(ids_BT, positions_BT, branch_BT, *numbers)
