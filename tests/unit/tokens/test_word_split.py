"""The word split is one that llama.cpp has built in, by the name a GGUF file would give it."""

import json

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from gristmill.tokens.word_split import QWEN2_SPLIT, llama_cpp_name

# llama.cpp, src/llama-vocab.cpp: what it replaces by a pattern of its own for LLAMA_VOCAB_PRE_TYPE_QWEN2 and _LLAMA3
LLAMA_CPP_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_CPP_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    r"|\s+"
)

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split(pattern: str, behavior: str = "isolated"):
    return pre_tokenizers.Split(Regex(pattern), behavior)


def name_of(*steps) -> str | None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    return llama_cpp_name(tokenizer)


def test_ours_is_the_pattern_llama_cpp_calls_qwen2(trained):
    assert QWEN2_SPLIT == LLAMA_CPP_QWEN2
    stored = json.loads((trained[0] / "tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"]
    assert stored[0]["pattern"] == {"Regex": LLAMA_CPP_QWEN2}
    assert trained[1].details["llama_cpp_pre"] == "qwen2"


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([split(LLAMA_CPP_QWEN2), BYTES], "qwen2"),
        ([split(LLAMA_CPP_LLAMA3), BYTES], "llama-bpe"),
        ([GPT2], "gpt-2"),
        ([pre_tokenizers.Digits(individual_digits=True), GPT2], "smollm"),
        ([split(r"\p{N}"), GPT2], "smollm"),
        ([split(LLAMA_CPP_QWEN2, "removed"), BYTES], None),
        ([split(LLAMA_CPP_QWEN2), GPT2], None),
        ([split(r"\w+"), BYTES], None),
        ([pre_tokenizers.Metaspace()], None),
        ([pre_tokenizers.ByteLevel(add_prefix_space=True)], None),
        ([pre_tokenizers.Digits(individual_digits=False), GPT2], None),
        ([BYTES], None),
    ],
)
def test_a_word_split_is_known_or_not(steps, name):
    assert name_of(*steps) == name


def test_gpt2s_pattern_cuts_like_the_one_built_into_byte_level_tokenizers():
    spelled_out = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    text = "It's 3.5 km,  isn't it?\n\n 'tis naïve — 日本 слово'll  "
    assert name_of(split(spelled_out), BYTES) == "gpt-2"
    cut = pre_tokenizers.Sequence([split(spelled_out), BYTES]).pre_tokenize_str(text)
    assert cut == GPT2.pre_tokenize_str(text)


def test_no_word_split_has_no_name():
    assert llama_cpp_name(Tokenizer(models.BPE())) is None
