"""The `train_tokenizer` stage: a byte-level BPE tokenizer of the training split, or an existing one, maybe extended.

The result is a folder that `transformers.AutoTokenizer` reads. A trained one splits words like Qwen2 (a pre-tokenizer
that llama.cpp knows under the name "qwen2"), normalizes nothing, so that decoding gives back every byte, and has four
special tokens: `<|endoftext|>` begins each document, `<|im_start|>` and `<|im_end|>` frame chat turns, `<|pad|>` is
only padding, never a token a model should learn to predict or to ignore. For masked language models there is a fifth,
`<|mask|>`.
An extended one has its base's pre-tokenizer, special tokens and chat template (`gristmill.tokens.extend`).
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from gristmill.report import Report
from gristmill.text.documents import read_documents
from gristmill.text.order import place
from gristmill.tokens.compression import ALL, coverage_of_documents
from gristmill.tokens.config import (
    TOKENIZER_FILES,
    ExistingTokenizer,
    ExtendedTokenizer,
    TokenizerConfig,
    TrainedTokenizer,
)
from gristmill.tokens.extend import extend_tokenizer
from gristmill.tokens.word_split import QWEN2_SPLIT, llama_cpp_name

BOS, PAD, TURN_START, TURN_END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
MASK = "<|mask|>"

# A conversation begins like a document. The `generation` block marks what the assistant says, its end included: the
# only tokens that supervised fine-tuning learns from.
_CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def run_train_tokenizer(splits: Path, out: Path, config: TokenizerConfig, *, base: Path | None = None) -> Report:
    """Fill `out` with a tokenizer, and say how well it covers each language of the validation split.

    base: folder of the model that training starts from; its tokenizer is meant where the configuration has no path.
    Raises ValueError when the training text allows fewer tokens than asked for.
    """
    facts: dict[str, Any] = {}
    if isinstance(config, TrainedTokenizer):
        facts = _train(splits / "train", out, config)
    elif isinstance(config, ExtendedTokenizer):
        facts = _extend(splits / "train", out, config, _folder(config.path, base))
    else:
        assert isinstance(config, ExistingTokenizer), config  # a pinned one is never built
        _copy(_folder(config.path, base), out)
    vocabulary = Vocabulary.load(out)
    covered = coverage_of_documents(vocabulary.tokenizer, splits / "validation")
    whole = covered.pop(ALL)
    return Report(
        rows_in=vocabulary.size,
        rows_out=vocabulary.size,
        unit="tokens",
        metrics={"bytes_per_token": whole.bytes_per_token, "tokens_per_word": whole.tokens_per_word},
        details={
            "bytes_per_token": {language: each.bytes_per_token for language, each in covered.items()},
            "tokens_per_word": {language: each.tokens_per_word for language, each in covered.items()},
            "llama_cpp_pre": llama_cpp_name(vocabulary.tokenizer),
            **facts,
        },
    )


def _train(documents: Path, out: Path, config: TrainedTokenizer) -> dict[str, Any]:
    """Train and save. The same text gives the same bytes."""
    assert config.vocab_size != "auto"  # PipelineConfig.tokenizer has put a number in its place
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = (BOS, PAD, TURN_START, TURN_END, *([MASK] if config.mask_token else []))
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[AddedToken(token, special=True) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = _Sample(documents, config)
    tokenizer.train_from_iterator(sample.texts(), trainer)
    if tokenizer.get_vocab_size() < config.vocab_size:
        raise ValueError(
            f"the text of {sample.documents} documents allows only {tokenizer.get_vocab_size()} tokens, not "
            f"train_tokenizer.vocab_size={config.vocab_size}; set it to at most that, or give more text"
        )
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(_CHAT_TEMPLATE)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": TURN_END,
        "pad_token": PAD,
        "additional_special_tokens": [TURN_START],
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        **({"mask_token": MASK} if config.mask_token else {}),
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return {"documents_read": sample.documents}


def _folder(path: str | None, base: Path | None) -> Path:
    if path is None and base is None:
        raise ValueError("train_tokenizer.path is not given, and there is no model in model.start to take it from")
    return Path(path) if path else base  # pyright: ignore[reportReturnType]


def _extend(documents: Path, out: Path, config: ExtendedTokenizer, base: Path) -> dict[str, Any]:
    sample = _Sample(documents, config)
    _copy(base, out)
    made = extend_tokenizer(base, sample.texts(), scripts=config.scripts, new_tokens=config.new_tokens)
    made.tokenizer.save(str(out / "tokenizer.json"))
    return {
        "documents_read": sample.documents,
        "base_vocab_size": made.vocab_size - config.new_tokens,
        "words_of_the_scripts": made.words,
        "tokens_per_word_of_the_scripts": {"base": made.tokens_per_word_before, "extended": made.tokens_per_word},
        "signs_that_may_get_other_tokens": sorted(made.sharing),
    }


class _Sample:
    """Documents in their order, thinned by hash to about `max_chars`, so that no package or site is favoured."""

    def __init__(self, folder: Path, config: TrainedTokenizer | ExtendedTokenizer) -> None:
        self.folder = folder
        self.seed = config.seed
        self.documents = 0
        chars = sum(len(page["text"]) for page in read_documents(folder, columns=["text"])) if config.max_chars else 0
        self.share = config.max_chars / chars if config.max_chars and chars > config.max_chars else 1.0

    def texts(self) -> Iterator[str]:
        for page in read_documents(self.folder, columns=["doc_id", "text"]):
            if place(page["doc_id"], seed=self.seed, purpose="train_tokenizer") < self.share:
                self.documents += 1
                yield page["text"]


def _copy(folder: Path, out: Path) -> None:
    for name in TOKENIZER_FILES[:2]:
        if not (folder / name).is_file():
            raise ValueError(f"train_tokenizer.path: no {name} in {folder}; name the folder of a fast tokenizer")
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer folder without transformers: ids for text, and the ids that packing needs."""

    tokenizer: Tokenizer
    size: int
    """One more than the largest id."""
    bos_id: int
    pad_id: int
    eos_id: int
    mask_id: int | None = None

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """Special tokens written in a text are text, never control: a crawled page must not end a chat turn.

        A tokenizer without a document start uses `<|endoftext|>`, else its end; one without padding pads with that.
        Raises ValueError when it names no special token at all.
        """
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        bos, pad, eos, mask = (
            _token_id(tokenizer, settings.get(f"{name}_token")) for name in ("bos", "pad", "eos", "mask")
        )
        known = [token for token in (bos, tokenizer.token_to_id(BOS), eos) if token is not None]
        if not known:
            raise ValueError(
                f"{folder.name}/tokenizer_config.json names neither bos_token nor eos_token; documents need a start"
            )
        return cls(
            tokenizer=tokenizer,
            size=max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
            bos_id=known[0],
            pad_id=known[0] if pad is None else pad,
            eos_id=known[0] if eos is None else eos,
            mask_id=mask,
        )


def _token_id(tokenizer: Tokenizer, token: str | dict | None) -> int | None:
    name = token["content"] if isinstance(token, dict) else token
    return None if name is None else tokenizer.token_to_id(name)


def token_bytes(tokenizer: Tokenizer, size: int) -> list[int]:
    """Bytes of text each id stands for, 0 for special tokens and unused ids: what bits per byte are counted in."""
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    added = set(tokenizer.get_added_tokens_decoder())
    is_byte_level = '"ByteLevel"' in json.dumps(json.loads(tokenizer.to_str())["decoder"])
    lengths = [0] * size
    for name, token in tokenizer.get_vocab(with_added_tokens=True).items():
        if token in special:
            continue
        # a byte-level token spells each byte as one character; others spell spaces as ▁ and lone bytes as <0x0A>
        if is_byte_level and token not in added:
            lengths[token] = len(name)
        elif len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
            lengths[token] = 1
        else:
            lengths[token] = len(name.replace("▁", " ").encode())
    return lengths
