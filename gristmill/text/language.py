"""Language identification with fastText (Joulin et al. 2017, arXiv:1607.01759; lid.176 knows 176 languages).

A page is judged as a whole on its first characters, and on more where these leave a doubt, lower-cased and with
look-alike letters repaired; then by its paragraphs, which tell whether it is written in one language. The alphabet is
a second opinion: it overrules the model where letters leave no doubt, and decides whether the verdict on a short text
is certain.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from gristmill.text.alphabets import RULED_BY_LETTERS, check_alphabet, rules_out
from gristmill.text.config import LanguageConfig
from gristmill.text.language_model import load_model, model_path
from gristmill.text.lookalikes import repair_lookalikes

Status = Literal["certain", "uncertain", "mixed"]

UNDETERMINED = "und"
SECOND_LOOK_SCORE = 0.9
"""Below this the beginning is no good sample (a notice in English, a menu): slices of the whole text are looked at."""
SLICES = 8
MIN_CERTAIN_SCORE = 0.5
LETTERS_LOOKED_AT = 1000
"""Characters that the alphabet check reads."""
BLOCK_CHARS = 120
"""Characters that lines are merged to before their language is asked. More of them tell languages apart better, but
wash out languages that take turns."""
BLOCK_CHARS_LOOKED_AT = 300
MIN_BLOCK_CHARS = 60
MIN_BLOCK_SCORE = 0.7
"""Probability of another language than the page's that a block is believed to be in it; at .6 blocks of Afrikaans
pass for Dutch."""
SAMPLED_BLOCKS = 6
"""Blocks looked at first, evenly spaced: no stretch of a fifth of the page lies between two of them."""
MAX_BLOCKS = 64
CANDIDATES = 5

# languages that are one where a paragraph is compared with its page: models tell them apart on long texts only
_CLOSE = {
    code: group
    for group in ("bs hr sh sr", "da nb nn no", "id ms", "ar arz", "pnb ur", "az azb", "wuu yue zh", "gl pt", "cs sk")
    for code in group.split()
}


@dataclass(frozen=True)
class Judgement:
    """What is known of a text's language.

    language, score: of the text as a whole, with its probability. status: "certain"; "uncertain" for fewer than
        `min_certain_chars` characters or a score below .5, unless the alphabet agrees; "mixed" when more than
        `max_other_share` of the characters are in paragraphs of other languages.
    paragraph_languages: one code a paragraph, see `paragraphs`; a short one has its neighbours'.
    shares: characters by language, most first.
    """

    language: str
    score: float
    status: Status
    paragraph_languages: list[str]
    shares: dict[str, int]


@dataclass(frozen=True)
class _Block:
    """Consecutive paragraphs, `start` to `end` exclusive, whose language is asked together."""

    start: int
    end: int
    chars: int
    width: int


class LanguageIdentifier:
    """A loaded model. Not picklable: every worker loads its own, in about 10 ms."""

    def __init__(self, config: LanguageConfig) -> None:
        self._config = config
        self._model, self._codes = load_model(model_path(config))

    @property
    def codes(self) -> list[str]:
        """The languages that the model knows, in alphabetical order."""
        return sorted(set(self._codes.values()))

    def identify(self, text: str) -> tuple[str, float]:
        """The language code and its probability, 0 to 1; ("und", 0.0) for a text without a word.

        From the first half of `max_chars` characters; where these say less than .9, from all, in slices of the text.
        """
        size = self._config.max_chars
        first = self._ask(_line(text[:size])[: size // 2])
        if first[1] >= SECOND_LOOK_SCORE or len(text) <= size // 2:
            return first
        second = self._ask(_line(_slices(text, size)))
        return first if second[0] == UNDETERMINED else second

    def judge(self, text: str) -> Judgement:
        """The language of a text, how certain it is, and the languages of its paragraphs."""
        language, score = self.identify(text)
        lines = paragraphs(text)
        blocks = _blocks(lines)
        found = self._languages_of(blocks, lines, language)
        total = sum(block.chars for block in blocks)
        shares = _shares(blocks, found)
        if shares and next(iter(shares)) != language and language != UNDETERMINED:
            # the beginning was in another language than most of the text
            language, score = self._language_of_most(blocks, found, lines, next(iter(shares)))
        if shares and total - shares.get(language, 0) > self._config.max_other_share * total:
            status = "mixed"
        else:
            status = self._status(text, language, score)
        codes = [code for block, code in zip(blocks, found, strict=True) for _ in range(block.start, block.end)]
        return Judgement(language, score, status, codes, shares)

    def _status(self, text: str, language: str, score: float) -> Status:
        if language == UNDETERMINED:
            return "uncertain"
        line = _line(text[: 2 * self._config.max_chars])
        if len(line) >= self._config.min_certain_chars and score >= MIN_CERTAIN_SCORE:
            return "certain"
        agrees = check_alphabet(repair_lookalikes(line[:LETTERS_LOOKED_AT]), language) == "agrees"
        return "certain" if agrees else "uncertain"

    def _languages_of(self, blocks: list[_Block], lines: list[str], language: str) -> list[str]:
        """One code a block. All blocks are asked only where one of a few differs from the page's language."""
        found = {0: language} if len(blocks) == 1 or language == UNDETERMINED else {}
        if not found:
            for number in _sample(blocks):
                found[number] = self._block_language(blocks[number], lines, language)
            if any(code != language for code in found.values()):
                for number in range(len(blocks)):
                    if number not in found:
                        found[number] = self._block_language(blocks[number], lines, language)
        return [found.get(number, language) for number in range(len(blocks))]

    def _block_language(self, block: _Block, lines: list[str], language: str) -> str:
        if block.chars < MIN_BLOCK_CHARS:
            return language
        code, score = self._ask(_block_line(block, lines))
        if code == UNDETERMINED or score < MIN_BLOCK_SCORE or _CLOSE.get(code, code) == _CLOSE.get(language, language):
            return language
        return code

    def _language_of_most(
        self, blocks: list[_Block], found: list[str], lines: list[str], language: str
    ) -> tuple[str, float]:
        """The language, and its probability in its blocks, weighted by their characters."""
        own = [block for block, code in zip(blocks, found, strict=True) if code == language]
        scored = [(self._ask(_block_line(block, lines)), block.chars) for block in own]
        weight = sum(chars for _, chars in scored)
        return language, sum(score * chars for (code, score), chars in scored if code == language) / weight

    def _ask(self, line: str) -> tuple[str, float]:
        """One prediction for a line without line breaks."""
        line = repair_lookalikes(line).lower().encode("utf-8", "ignore").decode()
        if not line:
            return UNDETERMINED, 0.0
        candidates = self._predict(line, 1)
        if not candidates:
            return UNDETERMINED, 0.0
        if candidates[0][0] in RULED_BY_LETTERS and rules_out(line[:LETTERS_LOOKED_AT], candidates[0][0]):
            return self._allowed(line, candidates[0])
        return candidates[0]

    def _allowed(self, line: str, first: tuple[str, float]) -> tuple[str, float]:
        """The next language that the letters allow, with its probability given that the first ones are wrong."""
        wrong = 0.0
        for code, score in self._predict(line, CANDIDATES):
            if code == first[0] or rules_out(line[:LETTERS_LOOKED_AT], code):
                wrong += score
            elif code in RULED_BY_LETTERS:
                return code, min(1.0, score / max(1e-6, 1 - wrong))
        return first

    def _predict(self, line: str, count: int) -> list[tuple[str, float]]:
        labels, scores = self._model.predict(line, count)
        return [
            (self._codes[label], min(1.0, max(0.0, float(score)))) for label, score in zip(labels, scores, strict=True)
        ]


def paragraphs(text: str) -> list[str]:
    """The lines of a text that are not blank: what extractors put a paragraph, a list item or a heading on."""
    return [line for line in text.split("\n") if not line.isspace() and line]


def split_by_language(text: str, judgement: Judgement) -> list[tuple[str, str]]:
    """A text for each language of its paragraphs, in the order they appear; the paragraphs keep theirs.

    Blank lines stay where the paragraphs on both sides do; where one was taken out, an empty line stands.
    Raises ValueError when the judgement is of another text.
    """
    parts: dict[str, list[str]] = {}
    codes = iter(judgement.paragraph_languages)
    language, blanks = None, []
    for line in text.split("\n"):
        if not line or line.isspace():
            blanks.append(line)
            continue
        code = next(codes, None)
        if code is None:
            raise ValueError("the text has more paragraphs than the judgement; split a text by its own judgement")
        part = parts.setdefault(code, [])
        part += blanks if code == language else [""] if part else []
        part.append(line)
        language, blanks = code, []
    if next(codes, None) is not None:
        raise ValueError("the text has fewer paragraphs than the judgement; split a text by its own judgement")
    return [(code, "\n".join(part)) for code, part in parts.items()]


THRESHOLDS = "language_thresholds.json"


def default_threshold(code: str) -> float:
    """The score that keeps 99 % of right text of 200 characters in a language, or as many as the model can.

    Derived from test sentences by `benchmarks/language_thresholds.py --write`; .5 for a language without sentences.
    """
    return _thresholds().get(code, MIN_CERTAIN_SCORE)


@cache
def _thresholds() -> dict[str, float]:
    table = json.loads((Path(__file__).parent / THRESHOLDS).read_text(encoding="utf-8"))
    return {code: facts["threshold"] for code, facts in table["languages"].items()}


def _line(text: str) -> str:
    return " ".join(text.split())


def _slices(text: str, chars: int) -> str:
    """`chars` characters of a text, in slices evenly spaced from its beginning to its end."""
    if len(text) <= chars:
        return text
    width = chars // SLICES or 1
    step = (len(text) - width) / (SLICES - 1)
    starts = [round(number * step) for number in range(SLICES)]
    return " ".join(text[start : start + width] for start in starts)


def _blocks(lines: list[str]) -> list[_Block]:
    """Lines merged until they are long enough to tell a language; a change of script ends a block.

    At most about MAX_BLOCKS, longer ones in a longer text. A short last block is part of the one before.
    """
    size = max(BLOCK_CHARS, sum(map(len, lines)) // MAX_BLOCKS)
    blocks: list[_Block] = []
    start, chars, width = 0, 0, 0
    for number, line in enumerate(lines):
        own = _width(line) or width
        if chars >= size or (chars and width and own != width):
            blocks.append(_Block(start, number, chars, width))
            start, chars = number, 0
        chars, width = chars + len(line), own
    if chars and blocks and chars < MIN_BLOCK_CHARS and blocks[-1].width == width:
        start, chars = blocks[-1].start, chars + blocks.pop().chars
    if chars:
        blocks.append(_Block(start, len(lines), chars, width))
    return blocks


def _width(line: str) -> int:
    """A script, told by the bytes of its letters in UTF-8: 1 Latin, 2 Cyrillic or Arabic, 3 Indic or Han; 0 unsure."""
    if len(line) < 40:
        return 0
    if line.isascii():
        return 1
    line = line[:200]
    ratio = len(line.encode("utf-8", "ignore")) / len(line)
    return 1 if ratio < 1.4 else 2 if ratio < 2.1 else 3


def _sample(blocks: list[_Block]) -> list[int]:
    """The blocks to ask first: evenly spaced by characters, and one of each script that is not the most common."""
    total = sum(block.chars for block in blocks)
    numbers, seen, passed = set(), {}, 0
    for number, block in enumerate(blocks):
        before, passed = passed, passed + block.chars
        # the middle of a sixth of the text lies in this block
        if (2 * SAMPLED_BLOCKS * passed - total) // (2 * total) > (2 * SAMPLED_BLOCKS * before - total) // (2 * total):
            numbers.add(number)
        seen.setdefault(block.width, number)
    return sorted(numbers | set(seen.values()))


def _block_line(block: _Block, lines: list[str]) -> str:
    return _line(" ".join(lines[block.start : block.end])[:BLOCK_CHARS_LOOKED_AT])


def _shares(blocks: list[_Block], found: list[str]) -> dict[str, int]:
    shares: dict[str, int] = {}
    for block, code in zip(blocks, found, strict=True):
        shares[code] = shares.get(code, 0) + block.chars
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
