"""Model folders, loaded for measuring or training, and the process made ready for that."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gristmill.model.config import is_masked_model
from gristmill.schema import Resources


def prepare_process(resources: Resources) -> torch.device:
    """Silence what would drown the progress, set threads, and return the device to compute on."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # TRL 1.16 still says gradient_checkpointing
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(resources.threads)
    wanted = resources.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"resources.device={wanted} but torch finds no CUDA device here; use auto or cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by torch.use_deterministic_algorithms
    return torch.device(wanted)


@contextmanager
def same_bits(device: torch.device) -> Iterator[None]:
    """Inside, kernels of a GPU compute the same bits every time, attention's backward pass among them.

    Raises RuntimeError for one that cannot. On a CPU they do anyway.
    """
    if device.type == "cpu":
        yield
        return
    before, filling = torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    torch.use_deterministic_algorithms(True)
    # filling new memory would only serve code that reads what it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # pyright: ignore[reportAttributeAccessIssue]


def load_model(
    folder: Path, device: torch.device, *, quantization: BitsAndBytesConfig | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in float32 or quantized, and its tokenizer. Raises ValueError for a masked one (BERT)."""
    tokenizer = load_tokenizer(folder)
    if is_masked_model(folder):
        raise ValueError(
            f"{folder}: this model fills in masked tokens, it generates no text, so it can be neither chatted with, "
            "fine-tuned on conversations nor asked benchmarks; its masked_bits_per_byte stands in its result.json"
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, **placed(device, quantization)
    )
    return model, tokenizer


def placed(device: torch.device, quantization: BitsAndBytesConfig | None) -> dict[str, Any]:
    """Arguments of `from_pretrained` that put a model on a device."""
    return {"device_map": {"": device}} | ({"quantization_config": quantization} if quantization else {})


def placed_later(device: torch.device, quantization: BitsAndBytesConfig | None) -> dict[str, Any]:
    """The same for a model with a new head: drawn on the CPU, it is the same one on every device that `.to` puts it on.
    Quantized weights cannot move."""
    return placed(device if quantization else torch.device("cpu"), quantization)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder. Raises ValueError when the folder is none."""
    if (folder / "adapter").is_dir() and not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: an adapter without the model it belongs to (adapter.merge: false); name the base's folder, or "
            "train with adapter.merge: true"
        )
    if not (folder / "tokenizer.json").is_file() or not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json and tokenizer.json there; expected a model folder")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
