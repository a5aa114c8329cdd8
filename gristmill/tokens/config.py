"""What tokenizer and packing compute."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from gristmill.errors import NotHere
from gristmill.schema import StageConfig

# everything that decides how text becomes ids; a tokenizer folder needs only the first two
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


class TrainedTokenizer(StageConfig):
    """Train a byte-level BPE tokenizer on the training split."""

    kind: Literal["bpe"] = "bpe"
    vocab_size: PositiveInt | Literal["auto"] = 8192
    """Tokens, the 256 bytes and 4 special ones included. Exactly so many come out, or the stage fails. `auto`: what Tao
    et al. (arXiv:2407.13623) find best for a model of this size (docs/tokens.md)."""
    max_chars: PositiveInt | None = 100_000_000
    """Train on a sample of about this many characters; more text changes the merges little."""
    seed: int = 0
    """Changes which documents are sampled."""
    mask_token: bool = False
    """A fifth special token, `<|mask|>`. The pipeline asks for it where `model.family` is bert."""

    @model_validator(mode="after")
    def _bytes_and_special_tokens_fit(self) -> Self:
        least = 256 + 4 + self.mask_token
        if self.vocab_size != "auto" and self.vocab_size < least:
            raise ValueError(f"vocab_size={self.vocab_size}: the 256 bytes and the special tokens alone are {least}")
        return self

    def identity(self) -> dict[str, Any]:
        """Without the mask token, as it was before there was a choice."""
        return self.model_dump(mode="json", exclude=None if self.mask_token else {"mask_token"})


class ExistingTokenizer(StageConfig):
    """Use a tokenizer as it is, such as that of the model in `model.start`."""

    kind: Literal["existing"] = "existing"
    path: str | None = None
    """Folder with `tokenizer.json` and `tokenizer_config.json`; null: the tokenizer of the model in `model.start`."""

    def identity(self) -> dict[str, Any]:
        """The tokenizer stands for its files, wherever they lie; the model's own is an input of the stage."""
        return {"kind": self.kind} | ({"files": _digests(Path(self.path))} if self.path else {})


class ExtendedTokenizer(StageConfig):
    """Add tokens for some scripts to a byte-level BPE tokenizer; text in all others keeps its tokens."""

    kind: Literal["extend"] = "extend"
    path: str | None = None
    """Folder with the `tokenizer.json` and `tokenizer_config.json` to begin with; null: those of the model in
    `model.start`."""
    scripts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Unicode's names of the scripts whose words are learned from, such as `Cyrillic`."""
    new_tokens: PositiveInt = 4000
    """Tokens to add. Exactly so many come out, each used in the training text, or the stage fails."""
    max_chars: PositiveInt | None = 20_000_000
    """Learn from a sample of about this many characters; more text changes the merges little."""
    seed: int = 0
    """Changes which documents are sampled."""

    def identity(self) -> dict[str, Any]:
        """The base stands for its files, wherever they lie; the model's own is an input of the stage."""
        decisive = self.model_dump(mode="json", exclude={"path"})
        return decisive | ({"files": _digests(Path(self.path))} if self.path else {})


class PinnedTokenizer(StageConfig):
    """Use a tokenizer that an earlier run made: the vocabulary stays while the text changes."""

    kind: Literal["artifact"] = "artifact"
    artifact: Annotated[str, Field(pattern=r"^tokenizer/train_tokenizer-[0-9a-f]{12}$")]
    """Its address, such as `tokenizer/train_tokenizer-60d09ddec826`."""


def _digests(folder: Path) -> dict[str, str]:
    """File name → sha256. Raises NotHere when there is no tokenizer."""
    if not (folder / "tokenizer.json").is_file():
        raise NotHere(
            f"train_tokenizer.path: no tokenizer.json in {folder}; name a folder that transformers reads as a fast "
            "tokenizer"
        )
    present = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in present}


TokenizerConfig = TrainedTokenizer | ExistingTokenizer | ExtendedTokenizer | PinnedTokenizer


class TokenizeConfig(StageConfig):
    """Cut the splits into rows of one length."""

    seq_len: int = Field(default=512, ge=8)
    """Tokens a model sees at once; a row holds one more, so that each has a successor."""
    seed: int = 0
    """Changes the order of the documents."""
    rows_per_shard: PositiveInt = 65_536
    """Rows in one `.npy` file."""
