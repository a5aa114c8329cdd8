"""The tensors of a model folder, one at a time, from safetensors alone.

A model folder may come from anywhere. Pickles can run code when they are read, so they are neither read nor copied;
an index that points out of the folder is refused; numbers that are not finite never leave by an export.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class Weights:
    """Names and shapes of a model's tensors; `read` gives the numbers."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError when the folder has no weights as safetensors."""
        self.folder = folder
        self.files = _files(folder)
        self._file_of: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in self.files:
            with safe_open(folder / file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    self._file_of[name] = file
                    self.shapes[name] = tuple(tensors.get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        """One tensor in float32 on the CPU. Raises ValueError when it holds anything but finite real numbers."""
        with safe_open(self.folder / self._file_of[name], framework="pt") as tensors:
            tensor = tensors.get_tensor(name)
        if not tensor.is_floating_point():
            raise ValueError(
                f"{self.folder}: {name} is {tensor.dtype}, not floating point; export takes weights before quantization"
            )
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            raise ValueError(
                f"{self.folder}: {wrong:,} of {tensor.numel():,} numbers of {name} are not finite; "
                "the training that made them went wrong, export an earlier checkpoint"
            )
        return tensor.float()

    def check(self) -> None:
        """Read every tensor once. Raises ValueError as `read` does."""
        for name in self.shapes:
            self.read(name)


def _files(folder: Path) -> list[str]:
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for path in _pickles(folder))
        found = f"only {', '.join(pickles)}, and reading a pickle can run code" if pickles else "nothing"
        raise ValueError(f"{folder}: expected weights as {SINGLE} or {INDEX}, found {found}")
    files = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    for file in files:
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(f"{folder / INDEX} names {file!r}; expected safetensors files in the same folder")
        if not (folder / file).is_file():
            raise ValueError(f"{folder / INDEX} names {file}, which is not there; the download is not complete")
    return files


def _pickles(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in PICKLES)
