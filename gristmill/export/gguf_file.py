"""A model folder written as one GGUF file, which llama.cpp and what is built on it run.

Written tensor by tensor: a process needs the memory of the largest one, not of the model.
"""

import os
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter, LlamaFileType
from torch import Tensor
from transformers import AutoConfig

from gristmill.evaluate.checkpoints import load_tokenizer
from gristmill.export.gguf_architecture import GGUFTensor, add_sizes, architecture, tensors
from gristmill.export.gguf_tokenizer import add_tokenizer
from gristmill.export.weights import Weights
from gristmill.model.origin import read_origin

Dtype = Literal["f32", "f16", "bf16"]

_TYPES = {
    "f32": (Type.F32, LlamaFileType.ALL_F32),
    "f16": (Type.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Type.BF16, LlamaFileType.MOSTLY_BF16),
}
_LARGEST_F16 = 65504.0
# small, and llama.cpp adds to or multiplies with them in float32
_KEPT_F32 = ("position_embd.weight", "ffn_gate_inp.weight")


def write_gguf(folder: Path, path: Path, *, name: str, dtype: Dtype, license: str | None = None) -> None:
    """Write the model of a Hugging Face folder to `path`, under another name until it is whole.

    dtype: of the matrices; vectors stay float32. Raises ValueError for a family, setting or tokenizer that llama.cpp
    does not have, for weights that are pickles or not finite, and for numbers that float16 cannot hold.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"{folder}: the weights are quantized already; export takes them before quantization")
    type_of_matrices, file_type = _TYPES[dtype]
    draft = path.with_name(f".{path.name}.tmp")
    writer = GGUFWriter(draft, architecture(config))
    planned = [
        (tensor, type_of_matrices if _is_matrix(tensor) else Type.F32) for tensor in tensors(Weights(folder), config)
    ]
    (rows,) = (tensor.shape[0] for tensor, _ in planned if tensor.name == "token_embd.weight")
    writer.add_type("model")
    writer.add_name(name)
    if license:
        writer.add_license(license)
    if origin := read_origin(folder):
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, origin.name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_sizes(writer, config)
    add_tokenizer(writer, load_tokenizer(folder), rows=rows)
    for tensor, kind in planned:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        nbytes = int(np.prod(tensor.shape)) // block * size
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), nbytes, raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, kind in planned:
            writer.write_tensor_data(_numbers(tensor, tensor.load(), kind))
        writer.close()
        publish(draft, path)
    finally:
        writer.close()
        draft.unlink(missing_ok=True)


def publish(draft: Path, path: Path) -> None:
    """Rename a finished file to its name once its bytes are on the disk."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def tensor_types(path: Path) -> dict[str, int]:
    """How many numbers of a GGUF file are of which type, the most frequent first."""
    counts: dict[str, int] = {}
    for tensor in GGUFReader(path).tensors:
        counts[tensor.tensor_type.name] = counts.get(tensor.tensor_type.name, 0) + int(tensor.n_elements)
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _is_matrix(tensor: GGUFTensor) -> bool:
    return len(tensor.shape) > 1 and not tensor.name.endswith(_KEPT_F32)


def _numbers(planned: GGUFTensor, tensor: Tensor, kind: Type) -> np.ndarray:
    assert tensor.shape == planned.shape, (planned.name, tensor.shape, planned.shape)
    numbers = tensor.numpy()
    if kind is Type.F16 and (largest := float(np.abs(numbers).max())) > _LARGEST_F16:
        raise ValueError(f"{planned.name} has a number of size {largest:.3g}, too large for f16; export with bf16")
    return gguf.quants.quantize(numbers, kind)
