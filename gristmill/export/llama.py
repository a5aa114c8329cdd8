"""Models as llama.cpp runs them: fewer bits a weight, logits, greedy tokens. Needs the extra `gristmill[llama]`."""

import ctypes
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gristmill.export.gguf_file import publish

QuantType = Literal["Q8_0", "Q4_K_M"]


def quantize(source: Path, path: Path, quant: QuantType, *, threads: int = 1) -> None:
    """Write a float32 GGUF file again with 8 or about 4.5 bits a weight, under another name until it is whole.

    Vectors stay float32; a matrix whose rows do not divide into the format's blocks gets a wider type (`tensor_types`
    shows which). Raises ValueError when llama.cpp is not installed, RuntimeError when it fails.
    """
    llama_cpp = _llama_cpp()
    draft = path.with_name(f".{path.name}.tmp")
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.nthread = threads
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quant}")
    try:
        failed = llama_cpp.llama_model_quantize(bytes(source), bytes(draft), ctypes.byref(settings))
        if failed:
            raise RuntimeError(f"llama.cpp could not quantize {source} to {quant} (status {failed})")
        publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)


class LlamaCppModel:
    """A GGUF file in llama.cpp on the CPU."""

    def __init__(self, path: Path, *, context: int, threads: int = 1, exact_cache: bool = False) -> None:
        """context: the most tokens it is given. exact_cache: keys and values in float32; llama.cpp's default is
        float16. Raises ValueError when llama.cpp is not installed or cannot read the file."""
        llama_cpp = _llama_cpp()
        kind = llama_cpp.GGML_TYPE_F32 if exact_cache else None
        self._model = llama_cpp.Llama(
            str(path),
            n_ctx=context,
            n_batch=context,
            n_ubatch=context,
            n_threads=threads,
            n_threads_batch=threads,
            logits_all=True,
            type_k=kind,
            type_v=kind,
            verbose=False,
        )

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """float32 [T, V]: the logits after each of these tokens."""
        self._model.reset()
        self._model.eval(list(ids))
        return self._model.scores[: len(ids)].copy()

    def greedy(self, prompt: Sequence[int], *, max_new_tokens: int) -> list[int]:
        """The likeliest continuation, past any end."""
        return list(self.steps(prompt, max_new_tokens=max_new_tokens))

    def steps(self, prompt: Sequence[int], *, max_new_tokens: int) -> Iterator[int]:
        """The same, token by token as each is known."""
        self._model.reset()
        self._model.eval(list(prompt))
        for made in range(1, max_new_tokens + 1):
            token = int(self._model.scores[self._model.n_tokens - 1].argmax())
            yield token
            if made < max_new_tokens:
                self._model.eval([token])

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return self._model.n_vocab()

    def tokens(self, text: str) -> list[int]:
        """Token ids as llama.cpp reads a text, special tokens written in it included."""
        return self._model.tokenize(text.encode(), add_bos=True, special=True)

    def close(self) -> None:
        """Give the memory back."""
        self._model.close()


def installed() -> bool:
    """Whether llama.cpp can be used here."""
    try:
        _llama_cpp()
    except ValueError:
        return False
    return True


def _llama_cpp() -> ModuleType:
    try:
        import llama_cpp  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            "int8 and int4 are made by llama.cpp, which is not installed: pip install 'gristmill[llama]' (it is "
            "compiled, minutes); hf and gguf need nothing"
        ) from error
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    return llama_cpp
