"""The processes of one training run: one alone, or those that torchrun started, on one machine or several."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from gristmill.schema import Resources

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world` processes, and its device."""

    rank: int
    world: int
    device: torch.device
    nodes: int = 1
    """Machines, each with equally many of the processes."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Element-wise sums over all processes, in float64."""
        if self.world == 1:
            return [float(value) for value in values]
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(totals)
        return totals.tolist()

    def from_main(self, value: T) -> T:
        """What the main process passed, in every process."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held)
        return held[0]

    def gathered(self, value: T) -> list[T]:
        """What each process passed, by rank, in every process."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return values  # pyright: ignore[reportReturnType]

    def wait(self) -> None:
        """Return when every process has come this far."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined_ranks(resources: Resources) -> Iterator[Ranks]:
    """Join the other processes (gloo on CPU, NCCL on GPUs), and make torch compute the same bits every time."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    on_each_node = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    device = _device(resources.device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    torch.set_num_threads(resources.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without it
    torch.use_deterministic_algorithms(True)
    # filling new memory would only serve code that reads what it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=world)
    ranks = Ranks(rank, world, device, nodes=world // on_each_node)
    try:
        yield ranks
        # torchrun ends all processes when one has failed, and gloo aborts (seen in 1 run of 4) where a peer has left
        ranks.wait()
    finally:
        if world > 1:
            dist.destroy_process_group()


def _device(wanted: str, *, local_rank: int) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"resources.device={wanted} but torch finds no CUDA device here; use auto or cpu")
    return torch.device("cuda", local_rank) if wanted == "cuda" else device
