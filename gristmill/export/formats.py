"""`hf`, `gguf`, `int8` and `int4` of one checkpoint.

int8 and int4 are llama.cpp's Q8_0 and Q4_K_M, made by llama.cpp itself from float32: one rule for both, and what is
measured is what its users run.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gristmill.export.gguf_file import Dtype, tensor_types, write_gguf
from gristmill.export.huggingface import license_of, write_folder
from gristmill.export.llama import QuantType, quantize

Format = Literal["hf", "gguf", "int8", "int4"]

QUANT_TYPES: dict[str, QuantType] = {"int8": "Q8_0", "int4": "Q4_K_M"}


@dataclass(frozen=True)
class Exported:
    """One export. `types`: how many numbers are of which type, where it is a GGUF file."""

    format: Format
    path: Path
    bytes: int
    types: dict[str, int]


def export_model(
    folder: Path, out: Path, *, to: Format, name: str, source: str, dtype: Dtype = "f16", threads: int = 1
) -> Exported:
    """Write the model in `folder` below `out` as `<name>-hf/` or `<name>-<type>.gguf`.

    source: where it comes from, for the model card. dtype: of the matrices of `gguf`. Raises ValueError as
    `write_folder`, `write_gguf` and `quantize` do.
    """
    out.mkdir(parents=True, exist_ok=True)
    if to == "hf":
        path = out / f"{name}-hf"
        write_folder(folder, path, name=name, source=source)
        return Exported(to, path, sum(file.stat().st_size for file in path.iterdir()), {})
    licence = license_of(folder)
    if to == "gguf":
        path = out / f"{name}-{dtype.upper()}.gguf"
        write_gguf(folder, path, name=name, dtype=dtype, license=licence)
    else:
        path = out / f"{name}-{QUANT_TYPES[to]}.gguf"
        with tempfile.TemporaryDirectory(dir=out, prefix=".f32-") as scratch:
            whole = Path(scratch) / "model.gguf"
            write_gguf(folder, whole, name=name, dtype="f32", license=licence)
            quantize(whole, path, QUANT_TYPES[to], threads=threads)
    return Exported(to, path, path.stat().st_size, tensor_types(path))
