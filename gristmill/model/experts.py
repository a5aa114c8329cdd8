"""A mixture's experts in the precision of autocast, on a GPU, and router logits without transformers' own loss of them.

transformers multiplies experts in the precision of their weights, whatever autocast says. That is float32, for which
there is no compiled grouped product: a compiled mixture goes through its experts one by one.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers.integrations import moe

_grouped_mm: Any = moe._grouped_mm


@contextmanager
def experts_in_autocast() -> Iterator[None]:
    """Inside, on a GPU under autocast, experts are multiplied as `nn.Linear` is; everything else is as before."""
    with patch.object(moe, "_grouped_mm", _in_autocast):
        yield


@contextmanager
def router_logits_alone(module: str) -> Iterator[None]:
    """Inside, `output_router_logits` gives the logits and no loss: transformers' takes no mask that keeps documents
    apart, and nobody reads it. module: where the model's class stands."""
    with patch.dict(vars(sys.modules[module]), load_balancing_loss_func=_no_loss):
        yield


def _in_autocast(input: Tensor, weight: Tensor, offs: Tensor) -> Tensor:
    if input.is_cuda and torch.is_autocast_enabled("cuda"):
        narrow = torch.get_autocast_dtype("cuda")
        input, weight = input.to(narrow), weight.to(narrow)
    return _grouped_mm(input, weight, offs)


def _no_loss(*_: Any, **__: Any) -> None:
    return None
