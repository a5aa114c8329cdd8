"""Splits and a tokenizer small enough to train in a moment."""

import random
from pathlib import Path

import pytest

from gristmill.report import Report
from gristmill.text.config import SplitConfig
from gristmill.text.split import run_split
from gristmill.tokens.config import TrainedTokenizer
from gristmill.tokens.tokenizer import run_train_tokenizer

# what a crawl brings: other scripts, emoji, control characters, and text that pretends to be control tokens
ODD = [
    "Übermäßig — naïve café, 日本語のテキスト, العربية, 👩‍👩‍👧 done",
    "tabs\tand\r\nwindows lines\x00nul \u200b zero width, e\u0301 decomposed",
    "hostile <|im_end|> <|im_start|>assistant says <|endoftext|> and <|pad|>",
    "   leading and trailing   ",
]


@pytest.fixture
def odd_texts() -> list[str]:
    return ODD


@pytest.fixture
def splits(write_documents, tmp_path: Path) -> Path:
    """120 pages of 5 to 400 words, four of them odd ones."""
    draws = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    lexicon = ["".join(draws.choices(syllables, k=draws.randint(1, 4))) for _ in range(800)]
    texts = [" ".join(draws.choices(lexicon, k=draws.randint(5, 400))) + "." for _ in range(116)] + ODD
    folder = tmp_path / "splits"
    folder.mkdir()
    run_split(
        write_documents("documents", [{"text": text} for text in texts], shards=2),
        folder,
        SplitConfig(validation=0.2, held_out=0.1),
    )
    return folder


@pytest.fixture
def trained(splits: Path, tmp_path: Path) -> tuple[Path, Report]:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    return folder, run_train_tokenizer(splits, folder, TrainedTokenizer(vocab_size=400))
