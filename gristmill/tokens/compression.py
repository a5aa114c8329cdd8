"""How well tokenizers cover text, by language: bytes per token, and tokens per word.

Words are what white space parts; of languages written without it the number says nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from gristmill.jsonl import read_jsonl
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
    """Like `coverage`, of the documents in a folder by their language: of each the first million characters."""
    rows = read_documents(documents, columns=["text", "language"])
    return coverage(tokenizer, heads((row["language"] or "unknown", row["text"]) for row in rows))


def texts_of(path: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of a file of JSON lines: the language is in `language` or `lang`, else it is the file's name.

    Raises ValueError for a row without text.
    """
    for place, row in read_jsonl(path):
        if not isinstance(row.get("text"), str):
            raise ValueError(f"{place}: no text under the key 'text'; it has {', '.join(row)}")
        yield row.get("language") or row.get("lang") or path.name.partition(".")[0], row["text"]


def heads(texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Of (language, text), so much that each language has its first million characters."""
    left: dict[str, int] = {}
    for language, text in texts:
        head = text[: left.setdefault(language, MEASURED_CHARS)]
        left[language] -= len(head)
        yield language, head


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
