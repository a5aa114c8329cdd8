"""What a GGUF file says beside its weights: facts, and the tokenizer as transformers reads one.

transformers makes a tokenizer from a GGUF file too, but gives every byte-level one GPT-2's word split; llama.cpp, whose
format this is, names the split in `tokenizer.ggml.pre`. So it is built here from the file's own words, and refused
where it says something not known here. Left out: SentencePiece vocabularies.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from gristmill.tokens.word_split import cuts_of

_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types of what is matched before the text is cut into words


def read_metadata(path: Path) -> dict[str, Any]:
    """All key-value pairs of the file. Raises ValueError when it is no whole GGUF file."""
    from gguf import GGUFReader

    try:
        return {name: field.contents() for name, field in GGUFReader(path).fields.items()}
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} is no whole GGUF file ({error}); download it again") from error


def write_tokenizer(facts: dict[str, Any], folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where the file has one, chat_template.jinja.

    facts: of `read_metadata`. Raises ValueError for a tokenizer that is not byte-level BPE with a known word split.
    """
    kind, split = facts.get("tokenizer.ggml.model"), facts.get("tokenizer.ggml.pre")
    cuts = cuts_of(split)
    if kind != "gpt2" or cuts is None:
        raise ValueError(
            f"the GGUF file's tokenizer is {kind!r} with the word split {split!r}; only byte-level BPE ('gpt2') with a "
            "split known to gristmill.tokens.word_split can be read; download the model as a Hugging Face folder"
        )
    tokens, types = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    vocab = {token: number for number, token in enumerate(tokens)}
    # Llama 3's merges do not make all of its tokens; llama.cpp takes a word that is a token whole there
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=split == "llama-bpe"))
    splits = [pre_tokenizers.Split(Regex(cut), behavior="isolated") for cut in cuts]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for type_, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [
            AddedToken(token, special=special, normalized=False)
            for token, its in zip(tokens, types, strict=True)
            if its == type_
        ]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {
        f"{name}_token": tokens[facts[key]]
        for name, key in (
            ("bos", "tokenizer.ggml.bos_token_id"),
            ("eos", "tokenizer.ggml.eos_token_id"),
            ("unk", "tokenizer.ggml.unknown_token_id"),
            ("pad", "tokenizer.ggml.padding_token_id"),
        )
        if key in facts
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    if "tokenizer.chat_template" in facts:
        (folder / "chat_template.jinja").write_text(facts["tokenizer.chat_template"])
