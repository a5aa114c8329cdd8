"""Linear layers in float32 on the CPU through oneDNN instead of MKL.

torch multiplies float32 matrices on x86 with MKL, which takes its AVX-512 kernels on Intel's processors alone; oneDNN,
which torch brings too, takes them wherever they are. Both compute in float32; sums are in another order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def onednn_linears(model: nn.Module) -> Iterator[None]:
    """Inside, the model's `nn.Linear` layers go through oneDNN, forward and backward, where their input is float32 on
    the CPU and autocast is off; everything else is as before. Inside of it once more, nothing changes."""
    first = next(model.parameters(), None)
    if first is None or first.device.type != "cpu":
        yield
        return
    linears = [layer for layer in model.modules() if type(layer) is nn.Linear and _applies(layer.weight)]
    layers = [layer for layer in linears if "forward" not in vars(layer)]
    for layer in layers:
        layer.forward = partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: nn.Linear, input: Tensor) -> Tensor:
    if not _applies(input) or not _applies(layer.weight) or torch.is_autocast_enabled("cpu"):
        return nn.functional.linear(input, layer.weight, layer.bias)
    if torch.is_grad_enabled():
        return _Linear.apply(input, layer.weight, layer.bias)  # pyright: ignore[reportReturnType]
    return _linear(input, layer.weight, layer.bias)


class _Linear(torch.autograd.Function):
    """input [..., K] · weight [N, K]ᵀ + bias [N], with its derivative."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(input, weight)
        return _linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # pyright: ignore
        input, weight = ctx.saved_tensors
        gradient_MN, input_MK = gradient.reshape(-1, gradient.shape[-1]), input.reshape(-1, input.shape[-1])
        of_input, of_weight, of_bias = ctx.needs_input_grad
        return (
            _linear(gradient_MN, weight.T).view(input.shape) if of_input else None,
            _linear(gradient_MN.T, input_MK.T) if of_weight else None,
            gradient_MN.sum(dim=0) if of_bias else None,
        )


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # what torch.compile's inductor emits for a frozen layer; there is no public name for it
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


def _applies(tensor: Tensor) -> bool:
    return tensor.dtype is torch.float32 and tensor.device.type == "cpu" and torch.backends.mkldnn.is_available()
