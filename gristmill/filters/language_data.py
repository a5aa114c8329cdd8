"""What gristmill ships about a language: stop words, abbreviations, thresholds, and phrases of pages without content.

`languages/<code>.json` is written by `gristmill profile` from reference texts and says which, how much of the held-out
part each rule keeps, and where the thresholds start from. `published.json` are FineWeb2's thresholds, copied as facts.
`phrases.json` is written by hand. A language without a file has the flat thresholds and no stop words.
"""

import json
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

FOLDER = Path(__file__).parent / "languages"
NOT_LANGUAGES = ("published", "phrases")
PAGES_WITHOUT_CONTENT = ("not_found", "placeholder", "consent")

# written without spaces, and so counted by characters (gristmill.filters.heuristics): a word is one character long
UNSPACED_LANGUAGES = ("ja", "km", "lo", "my", "th", "zh")
# taking two characters for a word: n-grams of 4 and 10 characters stand for those of 2 and 5 words, and a page of 50
# words has 100 characters; derived from no text
_CHARACTERS_AS_WORDS: dict[str, float | None] = {
    "max_top_2gram_char_ratio": None,
    "max_top_3gram_char_ratio": None,
    "max_top_4gram_char_ratio": 0.2,
    **{f"max_dup_{n}gram_char_ratio": None for n in range(5, 10)},
    "max_dup_10gram_char_ratio": 0.15,
    "min_words": 100,
    "max_words": 200_000,
    "min_mean_word_chars": None,
    "max_newline_word_ratio": 0.15,
}


@lru_cache(maxsize=1)
def shipped_profiles() -> MappingProxyType[str, dict[str, Any]]:
    """Language → what its file holds."""
    paths = sorted(path for path in FOLDER.glob("*.json") if path.stem not in NOT_LANGUAGES)
    return MappingProxyType({path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths})


def shipped_stop_words() -> dict[str, list[str]]:
    return {code: profile["stop_words"] for code, profile in shipped_profiles().items() if profile["stop_words"]}


def shipped_thresholds() -> dict[str, dict[str, float | None]]:
    """Language → rule → threshold, where it differs from the flat ones; null switches the rule off."""
    unspaced = dict.fromkeys(UNSPACED_LANGUAGES, _CHARACTERS_AS_WORDS)
    profiles = {code: profile["thresholds"] for code, profile in shipped_profiles().items() if profile["thresholds"]}
    return dict(sorted({**unspaced, **profiles}.items()))


@lru_cache(maxsize=1)
def shipped_phrases() -> MappingProxyType[str, dict[str, list[str]]]:
    """Language → kind of page without content → phrases in small letters that such pages say."""
    return MappingProxyType(_read("phrases")["phrases"])


def published_thresholds(language: str) -> tuple[dict[str, float | None], str | None]:
    """(rule → threshold, source) that others published for a language; ({}, None) where there is nothing."""
    published = _read("published")
    found = published["thresholds"].get(language)
    return (published["shared"] | found, published["source"]) if found else ({}, None)


def published_stop_words(language: str) -> list[str]:
    return _read("published")["stop_words"].get(language, [])


def _read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
