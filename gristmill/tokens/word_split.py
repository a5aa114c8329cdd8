"""How text is cut into words before byte-pair encoding, and the name llama.cpp knows it by.

llama.cpp runs no pattern of a tokenizer.json: a GGUF file names one of the cuts that are built in (llama-vocab.cpp,
`llm_tokenizer_bpe`). A tokenizer with another cut cannot be exported.
"""

import json
from typing import Any

from tokenizers import Tokenizer

# digits stand alone, which keeps arithmetic regular
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"

# what a tokenizer.json does one after the other → llama.cpp's name
_KNOWN = {
    (QWEN2_SPLIT,): "qwen2",
    (_LLAMA3_SPLIT,): "llama-bpe",
    (_GPT2_SPLIT,): "gpt-2",
    (_DIGIT, _GPT2_SPLIT): "smollm",
}


def llama_cpp_name(tokenizer: Tokenizer) -> str | None:
    """`tokenizer.ggml.pre` of a GGUF file with this tokenizer; None when no cut known here is its own."""
    state = json.loads(tokenizer.to_str())["pre_tokenizer"]
    if state is None:
        return None
    cuts: list[str] = []
    for step in state["pretokenizers"] if state["type"] == "Sequence" else [state]:
        cut = _cut(step)
        if cut is None:
            return None
        cuts += cut
    return _KNOWN.get(tuple(cuts))


def cuts_of(name: str | None) -> tuple[str, ...] | None:
    """The patterns that text is cut by, one after the other, under llama.cpp's name; None for one not known here."""
    return next((cuts for cuts, known in _KNOWN.items() if known == name), None)


def _cut(step: dict[str, Any]) -> list[str] | None:
    """The pattern of a step; none for spelling bytes without cutting; None for a step that is not known here."""
    if step["type"] == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return [step["pattern"].get("Regex")]
    if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
        return [_GPT2_SPLIT] if step["use_regex"] else []
    if step["type"] == "Digits" and step["individual_digits"]:
        return [_DIGIT]
    return None
