"""How a model lies across the processes of a run; what a training step must know of it is here.

`ddp`: whole in each process, gradients averaged. `fsdp`: every weight, its gradient and its optimizer state cut by
rows among the processes, gathered layer by layer for use (FSDP2; Zhao et al. 2023, arXiv:2304.11277). `hybrid`: cut
among the processes of a machine, and whole on each machine. The results are those of one process, but for the order of
sums.

Left out: tensor, pipeline and expert parallelism; a model is built whole in each process's memory before it is cut.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from gristmill.schema import Resources
from gristmill.train.muon import local_part
from gristmill.train.ranks import Ranks

BYTES_PER_WEIGHT = 16
"""float32 weight, gradient and two numbers of AdamW's state."""
SHARE_OF_MEMORY = 0.5
"""What those may take of a GPU; activations need the rest."""

Mode = Literal["single", "ddp", "fsdp", "hybrid"]


class ParallelModel:
    """A model laid out over the processes.

    `model` is the model itself, its weights DTensors where they are cut; `forward` is what to call for training.
    """

    def __init__(self, model: PreTrainedModel, ranks: Ranks, resources: Resources, *, compiled: bool) -> None:
        """compiled: run each layer through torch.compile. Raises ValueError for a mode these processes cannot have."""
        self.mode = _mode(resources.parallel, ranks, weights=sum(weight.numel() for weight in model.parameters()))
        self.mesh = _mesh(self.mode, ranks)
        self.model = model
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if resources.activation_checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        if compiled:
            # all layers share one compilation; a shape has its own, whatever shapes this process saw before it: a run
            # that is resumed then computes with the kernels of one that was not
            for layer in layers:
                layer.compile(dynamic=False)
        if self.is_sharded:
            for module in (*layers, model):
                fully_shard(module, mesh=self.mesh)
        else:
            model.to(ranks.device)  # pyright: ignore[reportArgumentType]
        self.forward: nn.Module = model
        if self.mode == "ddp":
            self.forward = DistributedDataParallel(model, forward_sync_buffers=False)

    @property
    def is_sharded(self) -> bool:
        return self.mode in ("fsdp", "hybrid")

    @contextmanager
    def exchanging_gradients(self, *, last: bool) -> Iterator[None]:
        """Around each forward and backward pass of a step. last: of the step's passes in this process.

        Sums travel once a step, except that `fsdp` sends its shards after every pass: keeping whole gradients until the
        last one would take the memory that sharding saves.
        """
        if isinstance(self.forward, DistributedDataParallel) and not last:
            with self.forward.no_sync():
                yield
            return
        if self.mode == "hybrid":
            assert isinstance(self.model, FSDPModule)
            self.model.set_requires_all_reduce(last)
        yield

    def clip_gradients(self, max_norm: float) -> float:
        """Scale the whole gradient down to this norm where it is longer. Returns its norm before."""
        weights = [weight for weight in self.model.parameters() if weight.grad is not None]
        norm = self._norm([local_part(weight.grad) for weight in weights if weight.grad is not None])
        clip_grads_with_norm_(weights, max_norm, norm)
        return norm.item()

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        """The norm over all processes of gradients of which each has its part, in float32.

        Added up in float64 and rounded once, it has the same bits however the weights are cut: a last digit would send
        a token to another expert some steps later.
        """
        squares = torch.stack([torch.linalg.vector_norm(gradient.double()).square() for gradient in gradients])
        if self.is_sharded:
            assert self.mesh
            dist.all_reduce(squares, group=self.mesh.get_group("shard"))
        return squares.sum().sqrt().float()

    def whole_weights(self) -> dict[str, Tensor] | None:
        """The state of a sharded model, gathered, tied weights once; None where the model itself has it whole.

        All processes call it.
        """
        if not self.is_sharded:
            return None
        own = {name for name, _ in self.model.named_parameters()}
        tied = {name for name, _ in self.model.named_parameters(remove_duplicate=False)} - own
        return {name: whole(tensor).cpu() for name, tensor in self.model.state_dict().items() if name not in tied}


def whole(tensor: Tensor) -> Tensor:
    """A tensor gathered from all processes that hold a part of it; all of them call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _mode(wanted: str, ranks: Ranks, *, weights: int) -> Mode:
    if ranks.world == 1:
        return "single"
    if wanted == "hybrid" and (ranks.nodes == 1 or ranks.nodes == ranks.world):
        raise ValueError(
            f"resources.parallel=hybrid cuts a model within a machine and copies it across machines, but {ranks.world} "
            f"processes on {ranks.nodes} machine(s) leave nothing to copy or nothing to cut; use fsdp or ddp"
        )
    if wanted in ("ddp", "fsdp", "hybrid"):
        return wanted  # pyright: ignore[reportReturnType]
    if ranks.device.type != "cuda":
        return "ddp"
    memory = torch.cuda.get_device_properties(ranks.device).total_memory
    (too_small,) = ranks.sum(weights * BYTES_PER_WEIGHT > SHARE_OF_MEMORY * memory)
    if not too_small:
        return "ddp"
    return "hybrid" if 1 < ranks.nodes < ranks.world else "fsdp"


def _mesh(mode: Mode, ranks: Ranks) -> DeviceMesh | None:
    if mode == "single":
        return None
    kind = ranks.device.type
    if mode == "hybrid":
        return init_device_mesh(kind, (ranks.nodes, ranks.world // ranks.nodes), mesh_dim_names=("replicate", "shard"))
    return init_device_mesh(kind, (ranks.world,), mesh_dim_names=("shard" if mode == "fsdp" else "replicate",))
