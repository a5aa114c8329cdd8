"""How often a text uses listed words: the oldest filter there is, and the one a classifier has to beat.

A list is a text file with a word or phrase a line, as in LDNOOBW; it is named by path or URL and never committed.
Letters are folded and words compared whole; what has no letters between blanks (`a$$`), and languages written without
blanks, are searched for as they stand.
"""

import re
from collections.abc import Iterable
from pathlib import Path

_WORD = re.compile(r"\w+")
# scripts written without blanks: Thai, Lao, Myanmar, Khmer, kana and the Han characters
_NO_BLANKS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


class WordList:
    """Words to look for. `count` takes some 0.1 ms for a page of 500 words."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._words: set[str] = set()
        self._phrases: dict[str, list[list[str]]] = {}
        self._literals: list[tuple[str, re.Pattern[str]]] = []
        for entry in filter(None, (entry.strip().casefold() for entry in entries)):
            words = _WORD.findall(entry)
            if _NO_BLANKS.search(entry):
                self._literals.append((entry, re.compile(re.escape(entry))))
            elif re.sub(r"[\s'’-]", "", entry) != "".join(words):
                self._literals.append((entry, re.compile(rf"(?<!\w){re.escape(entry)}(?!\w)")))
            elif len(words) == 1:
                self._words.add(words[0])
            else:
                self._phrases.setdefault(words[0], []).append(words)

    @classmethod
    def load(cls, path: Path) -> "WordList":
        """A word a line, UTF-8; blank lines and those that begin with # are left out.

        Raises ValueError for a file that is no text or holds no word.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 ({error}); expected a text file with a word a line") from error
        entries = [line for line in lines if line.strip() and not line.startswith("#")]
        if not entries:
            raise ValueError(f"{path} holds no word; expected a text file with a word a line")
        return cls(entries)

    def count(self, text: str) -> tuple[int, int]:
        """(listed words and phrases, each as often as it is used; all words)."""
        folded = text.casefold()
        words = _WORD.findall(folded)
        found = sum(map(self._words.__contains__, words))
        if not self._phrases.keys().isdisjoint(words):
            for at, word in enumerate(words):
                for phrase in self._phrases.get(word, ()):
                    found += words[at : at + len(phrase)] == phrase
        # each is looked for as plain text first: a regular expression takes a hundred times as long
        found += sum(len(pattern.findall(folded)) for entry, pattern in self._literals if entry in folded)
        return found, len(words)

    def score(self, text: str) -> float:
        """1 for a text with a listed word, else 0: a classifier to compare others with."""
        return float(self.count(text)[0] > 0)
