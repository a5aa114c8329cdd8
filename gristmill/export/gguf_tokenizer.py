"""A byte-level BPE tokenizer as a GGUF file's metadata."""

import json
from typing import Any

from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from gristmill.tokens.word_split import llama_cpp_name


def add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, *, rows: int) -> None:
    """Write vocabulary, merges, word split, special tokens and chat template.

    rows: of the embedding matrix; those that no token has are named `[PAD…]`. Raises ValueError when llama.cpp would
    cut text into other tokens, or the vocabulary is larger than the model.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ValueError("the tokenizer has no tokenizer.json of its own; only fast tokenizers are exported to GGUF")
    state = json.loads(backend.to_str())
    texts, types = _tokens(backend, rows)
    writer.add_tokenizer_model("gpt2")  # GGUF's name for byte-level BPE
    writer.add_tokenizer_pre(_word_split(backend, state))
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    bos, eos, pad = (_single(tokenizer, name) for name in ("bos", "eos", "pad"))
    if eos is None:
        raise ValueError("the tokenizer names no eos_token, and llama.cpp would take one of its own; name one")
    writer.add_bos_token_id(eos if bos is None else bos)
    writer.add_eos_token_id(eos)
    if pad is not None:
        writer.add_pad_token_id(pad)
    before, after = _added(tokenizer)
    writer.add_add_bos_token(before)
    writer.add_add_eos_token(after)
    template = tokenizer.chat_template
    if isinstance(template, dict):
        writer.add_chat_template([{"name": name, "template": text} for name, text in template.items()])
    elif template is not None:
        writer.add_chat_template(template)


def _single(tokenizer: PreTrainedTokenizerBase, name: str) -> int | None:
    number = getattr(tokenizer, f"{name}_token_id")
    assert number is None or isinstance(number, int), (name, number)
    return number


def _word_split(backend: Tokenizer, state: dict[str, Any]) -> str:
    if state["model"]["type"] != "BPE" or '"ByteLevel"' not in json.dumps(state["decoder"]):
        raise ValueError(f"the tokenizer is a {state['model']['type']}; only byte-level BPE is exported to GGUF")
    name = llama_cpp_name(backend)
    if name is None:
        raise ValueError(
            "the tokenizer cuts text into words in a way that llama.cpp is not known to have (docs/tokens.md): its "
            "GGUF would read other tokens; export to hf"
        )
    ignores = state["model"].get("ignore_merges", False)
    if ignores != (name == "llama-bpe"):
        raise ValueError(
            f"the tokenizer has ignore_merges={ignores}, llama.cpp's {name} the opposite: its GGUF would read other "
            "tokens; export to hf"
        )
    return name


def _tokens(backend: Tokenizer, rows: int) -> tuple[list[str], list[TokenType]]:
    known = {number: token for token, number in backend.get_vocab(with_added_tokens=True).items()}
    if max(known) >= rows:
        raise ValueError(f"the tokenizer has {max(known) + 1:,} token ids and the model {rows:,} rows of embeddings")
    added = backend.get_added_tokens_decoder()
    texts, types = [], []
    for number in range(rows):
        texts.append(known.get(number, f"[PAD{number}]"))
        if number not in known:
            types.append(TokenType.UNUSED)
        elif number in added:
            types.append(TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.NORMAL)
    return texts, types


def _added(tokenizer: PreTrainedTokenizerBase) -> tuple[bool, bool]:
    """Whether encoding puts the tokens of start and end around a text. Raises ValueError for any other."""
    bare, whole = (tokenizer.encode("a", add_special_tokens=special) for special in (False, True))
    for before in (False, True):
        for after in (False, True):
            if whole == [tokenizer.bos_token_id] * before + bare + [tokenizer.eos_token_id] * after:
                return before, after
    raise ValueError(f"the tokenizer encodes 'a' as {whole}: around it stand others than its start and end tokens")
