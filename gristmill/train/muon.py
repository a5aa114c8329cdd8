"""Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) for matrices that may lie across processes.

Differs from `torch.optim.Muon`, whose bits it gives on a CPU for whole matrices in bfloat16, in three ways. A weight of
three dimensions is a stack of matrices (the experts of a mixture), each orthogonalized by itself. A weight sharded by
rows (FSDP2) is orthogonalized whole. And the processes share this work: each does some of the matrices and gets the
others'.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

GPU_WEIGHTS = 2**24  # of matrices of one shape, orthogonalized together: a small one alone leaves a GPU waiting
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, then the nearest semi-orthogonal matrix; decoupled weight decay.

    Weights: [rows, columns] or [matrices, rows, columns], plain or DTensors sharded along their first dimension. A
    matrix taller than wide gets sqrt(rows / columns) times the learning rate; a group of parameters with `inputs_first`
    holds matrices [columns, rows] (GPT-2's). The state is `momentum_buffer`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        newton_schulz: torch.dtype = torch.bfloat16,
        mesh: DeviceMesh | None = None,
    ) -> None:
        """newton_schulz: precision of the orthogonalization. mesh: the processes that hold the same plain weights."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "inputs_first": False})
        self._precision, self._mesh = newton_schulz, mesh
        for group in self.param_groups:
            for weight in group["params"]:
                assert weight.ndim in (2, 3), f"Muon is for matrices and stacks of them, not for {tuple(weight.shape)}"

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for weights in self._together([weight for weight in group["params"] if weight.grad is not None]):
                directions = [self._momentum(weight, group["momentum"]) for weight in weights]
                for weight, direction in zip(weights, self._orthogonalized(weights, directions), strict=True):
                    rows, columns = weight.shape[-2:]
                    if group["inputs_first"]:
                        rows, columns = columns, rows
                    local = local_part(weight)
                    local.mul_(1 - group["lr"] * group["weight_decay"])
                    local.add_(direction, alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))

    def _together(self, weights: list[Tensor]) -> list[list[Tensor]]:
        """Weights to orthogonalize at a time: matrices of one shape, one for each process that shares the work, or
        some on a GPU alone. What one process has by itself on a CPU, and a stack of matrices, goes alone."""
        batches: list[list[Tensor]] = []
        filling: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            mesh, _ = self._layout(weight)
            together = mesh.size(-1) if mesh else max(1, GPU_WEIGHTS // weight.numel()) if weight.is_cuda else 1
            if together == 1 or weight.ndim == 3:
                batches.append([weight])
                continue
            if len(filling.get(weight.shape, ())) in (0, together):
                filling[weight.shape] = []
                batches.append(filling[weight.shape])
            filling[weight.shape].append(weight)
        return batches

    def _momentum(self, weight: Tensor, momentum: float) -> Tensor:
        """This process's part of the gradient with momentum."""
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        assert weight.grad is not None
        gradient, buffer = local_part(weight.grad), local_part(state["momentum_buffer"])
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)

    def _orthogonalized(self, weights: list[Tensor], directions: list[Tensor]) -> Iterable[Tensor]:
        """This process's part of each direction's orthogonal matrix."""
        mesh, placements = self._layout(weights[0])
        if mesh is None and len(directions) > 1:
            return orthogonalize(torch.stack(directions), self._precision)
        if mesh is None:
            return [orthogonalize(directions[0], self._precision)]
        if weights[0].ndim == 3:
            return [self._shared(directions[0], mesh, placements, weights[0].shape, batched=True)]
        rows_second = [Shard(1) if isinstance(place, Shard) else place for place in placements]
        shape = torch.Size((len(weights), *weights[0].shape))
        return self._shared(torch.stack(directions), mesh, rows_second, shape, batched=False)

    def _shared(
        self, stack: Tensor, mesh: DeviceMesh, lying: list[Placement], shape: torch.Size, *, batched: bool
    ) -> Tensor:
        """Orthogonalize this process's share of the matrices of a stack, and return the stack lying as it did.

        stack: this process's part of [matrices, rows, columns], which is of this shape and lies so on the mesh.
        batched: many small matrices; else one by one, which gives each the bits that it has alone.
        """
        spread = [*[Replicate()] * (mesh.ndim - 1), Shard(0)]
        mine = _distributed(stack.to(self._precision), mesh, lying, shape).redistribute(placements=spread).to_local()
        if len(mine) and batched:
            mine = orthogonalize(mine, self._precision)
        elif len(mine):
            mine = torch.stack([orthogonalize(matrix, self._precision) for matrix in mine])
        return _distributed(mine, mesh, spread, shape).redistribute(placements=lying).to_local()

    def _layout(self, weight: Tensor) -> tuple[DeviceMesh | None, list[Placement]]:
        """The processes that share the work on a weight, and how it lies on them; None: this process alone."""
        if isinstance(weight, DTensor):
            return weight.device_mesh, list(weight.placements)
        return self._mesh, [Replicate()] * (self._mesh.ndim if self._mesh else 0)


def orthogonalize(matrices: Tensor, precision: torch.dtype) -> Tensor:
    """U Vᵀ of the singular value decomposition, roughly, by five quintic Newton–Schulz iterations in `precision`.

    matrices: [rows, columns] or [matrices, rows, columns]. The singular values of the result lie in about 0.7 to 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.to(precision, copy=True)
    if tall:
        x = x.mT
    multiply_add = torch.addmm if matrices.ndim == 2 else torch.baddbmm
    x.div_(x.norm(dim=(-2, -1), keepdim=True).clamp(min=EPS) if matrices.ndim == 3 else x.norm().clamp(min=EPS))
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = multiply_add(x, multiply_add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _distributed(local: Tensor, mesh: DeviceMesh, placements: list[Placement], shape: torch.Size) -> DTensor:
    strides = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(local.contiguous(), mesh, placements, run_check=False, shape=shape, stride=strides)
