"""How well tokenizers cover text, by language: bytes per token, and tokens per word.

Words are what white space parts; of languages written without it the number says nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from gristmill.text.documents import read_documents

MEASURED_CHARS = 1_000_000
ALL = "all"


@dataclass(frozen=True)
class Coverage:
    """Of the texts of one language."""

    bytes: int
    words: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(self.tokens, 1)

    @property
    def tokens_per_word(self) -> float:
        return self.tokens / max(self.words, 1)


def coverage_of_documents(tokenizer: Tokenizer, documents: Path) -> dict[str, Coverage]:
    """Like `coverage`, of documents by their language: of each the first million characters."""
    left: dict[str, int] = {}

    def texts() -> Iterable[tuple[str, str]]:
        for page in read_documents(documents, columns=["text", "language"]):
            language = page["language"] or "unknown"
            text = page["text"][: left.setdefault(language, MEASURED_CHARS)]
            left[language] -= len(text)
            yield language, text

    return coverage(tokenizer, texts())


def coverage(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> dict[str, Coverage]:
    """Language → coverage, of (language, text); under `all` that of all texts together."""
    size, words, tokens = Counter(), Counter(), Counter()
    for language, text in texts:
        counted = len(tokenizer.encode(text, add_special_tokens=False))
        for key in (language, ALL):
            size[key] += len(text.encode())
            words[key] += len(text.split())
            tokens[key] += counted
    return {key: Coverage(size[key], words[key], tokens[key]) for key in sorted({ALL, *size})}
