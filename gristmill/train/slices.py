"""Tensors in safetensors files, each process's part in a file of its own; read back by any number of processes.

Weights are cut along their first dimension only (FSDP2), so a part is a range of rows. Where one process holds all,
the file is an ordinary `model.safetensors`. A file of parts says in its header which rows of which tensor they are.
"""

import json
from collections import defaultdict
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from gristmill.train.ranks import Ranks

SLICES = "slices"
"""Key of the header: JSON of name → [first row, rows of the whole tensor], for a person and for other readers."""


def save_slices(folder: Path, kind: str, tensors: dict[str, Tensor], *, ranks: Ranks) -> Path | None:
    """Write this process's part of the tensors; None where other processes write all that it holds."""
    sharded = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, DTensor)}
    if not sharded:
        return _write(folder / f"{kind}.safetensors", tensors) if ranks.is_main else None
    mesh = next(iter(sharded.values())).device_mesh
    *copy, part = mesh.get_coordinate() or []
    if any(copy):  # another machine's processes hold the same parts, and those of the first one write them
        return None
    mine = {name: tensor.to_local() for name, tensor in sharded.items()}
    slices = {name: [rows_of(tensor).start, len(tensor)] for name, tensor in sharded.items()}
    if ranks.is_main:
        mine |= {name: tensor for name, tensor in tensors.items() if name not in sharded}
    name = f"{kind}-{part + 1:05d}-of-{mesh.size(-1):05d}.safetensors"
    return _write(folder / name, mine, metadata={SLICES: json.dumps(slices)})


class SavedTensors:
    """The tensors of some files, whole or in parts."""

    def __init__(self, files: list[Path]) -> None:
        self._parts: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        for path in files:
            with safe_open(path, framework="pt") as file:
                slices = json.loads((file.metadata() or {}).get(SLICES, "{}"))
                for name in file.keys():  # noqa: SIM118 (not a dictionary)
                    self._parts[name].append((slices.get(name, [0])[0], path))

    def names(self) -> list[str]:
        return sorted(self._parts)

    def read(self, name: str, rows: range | None = None) -> Tensor:
        """A tensor, or these rows of it, on the CPU. Raises KeyError when no file has it."""
        if name not in self._parts:
            raise KeyError(f"no tensor {name} among the {len(self._parts)} of this checkpoint")
        found: list[Tensor] = []
        for first, path in sorted(self._parts[name]):
            with safe_open(path, framework="pt") as file:
                if rows is None:
                    found.append(file.get_tensor(name))
                    continue
                part = file.get_slice(name)
                start, stop = (min(max(edge - first, 0), part.get_shape()[0]) for edge in (rows.start, rows.stop))
                found.append(part[start:stop])
        return found[0] if len(found) == 1 else torch.cat(found)

    def read_like(self, name: str, like: Tensor) -> Tensor:
        """A tensor laid out as `like`, of the same shape, is: whole, or this process's rows of it."""
        if not isinstance(like, DTensor):
            return self.read(name).to(like.device)
        local = self.read(name, rows_of(like)).to(like.device)
        return DTensor.from_local(
            local, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
        )


def rows_of(tensor: DTensor) -> range:
    """The rows of the whole tensor that this process holds."""
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return range(offset[0], offset[0] + shape[0])


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(on_cpu, path, metadata)
    return path
