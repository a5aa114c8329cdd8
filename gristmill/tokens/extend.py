"""An existing byte-level BPE tokenizer with more tokens for some scripts; text in all others keeps its tokens.

Learning goes on where the tokenizer's own merges end, on words of the scripts as it cuts them now. The new merges come
after all others and are the last to be applied, so a text changes only where one of them fires; and each makes bytes
that stand in text of these scripts alone (`gristmill.tokens.scripts`). Appending a vocabulary that was trained on its
own has neither property. Normalizer, pre-tokenizer and all ids stay; new ids begin after the largest.
Left out: SentencePiece vocabularies, and removing tokens that the new language does not need.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from gristmill.tokens.merges import Pair, continue_merges
from gristmill.tokens.scripts import Scripts, byte_level_alphabet


@dataclass(frozen=True)
class Extension:
    """A tokenizer with new tokens, and what is worth knowing of it."""

    tokenizer: Tokenizer
    vocab_size: int
    """One more than the largest id: rows that an embedding matrix needs."""
    words: int
    """Words of the scripts in the text, each as often as it stands there."""
    tokens_per_word_before: float
    tokens_per_word: float
    """Of those words."""
    sharing: frozenset[str]
    """Signs of no script that may get other tokens, since a new token ends with their first bytes."""


def extend_tokenizer(base: Path, texts: Iterable[str], *, scripts: tuple[str, ...], new_tokens: int) -> Extension:
    """Learn `new_tokens` tokens from words of the scripts. The same texts, in any order, give the same tokenizer.

    base: folder with a tokenizer.json. Raises ValueError when that is no byte-level BPE tokenizer, when a script does
    not exist, and when the texts allow fewer tokens.
    """
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    state = json.loads(tokenizer.to_str())
    _check_byte_level_bpe(state, base)
    wanted, alphabet = Scripts(scripts), byte_level_alphabet()
    counts = _words(tokenizer, texts, wanted, alphabet)
    cut = [[token.value for token in tokenizer.model.tokenize(word)] for word in counts]
    before = _tokens(cut, counts)
    merges = continue_merges(
        cut,
        list(counts.values()),
        limit=new_tokens,
        taken=tokenizer.get_vocab(with_added_tokens=True),
        allowed=lambda name: wanted.own(bytes(alphabet[character] for character in name)),
    )
    if len(merges) < new_tokens:
        raise ValueError(
            f"train_tokenizer.new_tokens={new_tokens}, but {len(counts)} different words in {', '.join(scripts)} allow "
            f"only {len(merges)}; set it to at most that, or give more text"
        )
    extended = Tokenizer.from_str(json.dumps(_with_merges(state, merges)))
    _check(extended, dict(zip(counts, cut, strict=True)), merges)
    words = counts.total()
    return Extension(
        tokenizer=extended,
        vocab_size=max(extended.get_vocab(with_added_tokens=True).values()) + 1,
        words=words,
        tokens_per_word_before=before / words,
        tokens_per_word=_tokens(cut, counts) / words,
        sharing=frozenset().union(
            *(wanted.sharing(bytes(alphabet[character] for character in "".join(pair))) for pair in merges)
        ),
    )


def _check_byte_level_bpe(state: dict[str, Any], base: Path) -> None:
    model = state["model"]
    odd = [
        name
        for name in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout")
        if model.get(name)
    ]
    byte_level = all('"ByteLevel"' in json.dumps(state[part]) for part in ("pre_tokenizer", "decoder"))
    if model["type"] != "BPE" or odd or not byte_level:
        found = f"{model['type']} with {', '.join(odd)}" if odd else f"{model['type']}, byte-level: {byte_level}"
        raise ValueError(
            f"train_tokenizer.path: {base}/tokenizer.json is {found}; only byte-level BPE (as of GPT-2, Llama 3, "
            "Qwen, SmolLM2) can be extended; use the tokenizer as it is, with kind: existing"
        )


def _words(tokenizer: Tokenizer, texts: Iterable[str], scripts: Scripts, alphabet: dict[str, int]) -> Counter[str]:
    """Words of the scripts, spelled as the tokenizer's model gets them, in the order of their spelling."""
    found: Counter[str] = Counter()
    for text in texts:
        normalized = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        found.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized))
    spelled = {word: bytes(alphabet[character] for character in word).decode() for word in found}
    return Counter({word: found[word] for word in sorted(found) if scripts.spell(spelled[word])})


def _tokens(cut: list[list[str]], counts: Counter[str]) -> int:
    return sum(len(word) * count for word, count in zip(cut, counts.values(), strict=True))


def _with_merges(state: dict[str, Any], merges: list[Pair]) -> dict[str, Any]:
    """The tokenizer's JSON with the new merges and their tokens."""
    vocab = dict(state["model"]["vocab"])
    # a special token that is only listed beside the vocabulary gets its id from the vocabulary's size: pin it down
    vocab.update({token["content"]: token["id"] for token in state["added_tokens"]})
    first = max(vocab.values()) + 1
    vocab.update({"".join(pair): first + number for number, pair in enumerate(merges)})
    model = state["model"] | {"vocab": vocab, "merges": [*state["model"]["merges"], *map(list, merges)]}
    return state | {"model": model}


def _check(extended: Tokenizer, expected: dict[str, list[str]], merges: list[Pair]) -> None:
    """What was learned is what the library does with it, and every new token is used."""
    used: set[str] = set()
    for word, tokens in expected.items():
        assert [token.value for token in extended.model.tokenize(word)] == tokens, (word, tokens)
        used.update(tokens)
    unused = [name for pair in merges if (name := "".join(pair)) not in used]
    assert not unused, unused
