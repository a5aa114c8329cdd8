"""A key-value cache that has its room from the start, so that a step writes one token instead of copying all."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


def reserved_cache(config: PreTrainedConfig, capacity: int) -> DynamicCache:
    """An empty cache for up to `capacity` tokens a row. Layers that attend to a window keep transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [ReservedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class ReservedLayer(DynamicLayer):
    """One layer's keys and values [rows, heads, tokens, head_dim], as views of tensors with room for `capacity`.

    The prompt is kept as it comes; room is made at the first token after it, or after a choice of rows, so a cache that
    is filled for a few prompts and then repeated for many rows is never larger than it must be.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self._room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the newest tokens' keys and values; all of them so far are returned."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        assert after <= self.capacity, (after, self.capacity)
        if self._room is None:
            self._room = self._with_room(self.keys), self._with_room(self.values)
        keys, values = self._room
        keys[:, :, before:after] = key_states
        values[:, :, before:after] = value_states
        self.keys, self.values = keys[:, :, :after], values[:, :, :after]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows, one named twice becoming two."""
        super().batch_select_indices(indices)
        self._room = None

    def _with_room(self, tensor: Tensor) -> Tensor:
        rows, heads, tokens, size = tensor.shape
        larger = torch.empty((rows, heads, self.capacity, size), dtype=tensor.dtype, device=tensor.device)
        larger[:, :, :tokens] = tensor
        return larger
