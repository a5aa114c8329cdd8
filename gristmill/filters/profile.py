"""What a reference text says about its language: stop words, sentence ends, abbreviations, and thresholds.

A threshold starts from FineWeb2's for the language where it published one (arXiv:2506.20920), else from FineWeb's for
English, and is loosened until the rule keeps the wanted share of the reference's training part; it is never tightened,
since text unlike the reference need not be bad. The held-out part says what share of good text each rule keeps.

Abbreviations are found as in Kiss and Strunk 2006 (Punkt, doi:10.1162/coli.2006.32.4.485), without its likelihoods: a
word that nearly always has a dot, behind which small letters or digits go on.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datatrove.utils.text import TERMINAL_PUNCTUATION

from gristmill.filters.config import FilterConfig, SignalsConfig, Thresholds
from gristmill.filters.filter import Rule, failed_rules, rules_of
from gristmill.filters.heuristics import Signals, Vocabulary, dotted_words, measure, split_words
from gristmill.filters.language_data import published_stop_words, published_thresholds
from gristmill.text.words import text_hash

HELD_OUT = 0.2
STOP_WORDS = 12
MIN_DOCUMENTS = 100
"""Documents to train on; of fewer, one in a hundred cannot be told."""
SIZE_RULES = ("min_words", "max_words", "min_sentences", "min_stop_words")
"""How much text a page must have is a choice, not a fact about a language."""
_MIN_DOTTED, _MIN_DOTTED_SHARE, _MIN_GOES_ON_SHARE, _MAX_ABBREVIATIONS = 3, 0.8, 0.5, 60


@dataclass(frozen=True)
class Reference:
    """Texts of one origin, which the profile names."""

    name: str
    texts: Sequence[str]


def make_profile(
    references: Iterable[Reference], *, language: str, keep: float = 0.99, loosen: bool = True, note: str = ""
) -> dict[str, Any]:
    """The content of `languages/<code>.json`.

    keep: share of the training part that each rule keeps at least. loosen: False leaves thresholds as published, and
    reports only. Equal texts count once; a text falls into the held-out part by a hash of its words, so that its part
    is the same in every run. Raises ValueError where there is no text.
    """
    found = list(references)
    texts = {text_hash(text): text for reference in found for text in reference.texts}
    if not texts:
        raise ValueError(f"no text in {', '.join(each.name for each in found) or 'the references'}; name others")
    train = [text for key, text in texts.items() if not _is_held_out(key)]
    held_out = [text for key, text in texts.items() if _is_held_out(key)]
    abbreviations = find_abbreviations(train)
    stop_words = published_stop_words(language) or find_stop_words(train)
    ends = find_sentence_ends(train)
    marks = ends or Vocabulary.sentence_ends
    vocabulary = Vocabulary(frozenset(stop_words), marks, frozenset(abbreviations), _phrases(language))
    base, source = _base(language)
    documents = _documents(train, vocabulary, base)
    enough = len(documents) >= MIN_DOCUMENTS
    rules = (
        _loosened(base, documents, keep) if loosen and enough else {rule.name: (rule, None) for rule in rules_of(base)}
    )
    chosen = [rule for rule, _ in rules.values()]
    judged = _documents(held_out, vocabulary, base)
    return {
        "language": language,
        "derived_from": [
            {"name": each.name, "texts": len(each.texts), "words": sum(len(split_words(text)) for text in each.texts)}
            for each in found
        ],
        "note": note,
        "documents": {"training": len(documents), "held_out": len(judged)},
        "stop_words": stop_words,
        "sentence_ends": ends,
        "abbreviations": abbreviations,
        "thresholds": _different(base, chosen),
        "thresholds_start_from": source or "FineWeb's for English (arXiv:2406.17557)",
        "training_share_each_rule_keeps": keep if loosen and enough else None,
        "rules": _report(base, rules, judged),
        "held_out_share_kept": {
            "all_rules": _share(judged, chosen),
            "all_rules_of_flat_thresholds": _share(judged, rules_of(_heuristics(FilterConfig()))),
        },
    }


def find_stop_words(texts: Sequence[str]) -> list[str]:
    """The words in small letters that stand in most texts, the most widespread first."""
    spread = Counter(word for text in texts for word in set(split_words(text)) if word.isalpha() and word.islower())
    return [word for word, _ in sorted(spread.items(), key=lambda item: (-item[1], item[0]))[:STOP_WORDS]]


def find_sentence_ends(texts: Sequence[str]) -> str:
    """Punctuation that ends at least one in a thousand of the lines that end in a sentence's punctuation."""
    ends = Counter(line.rstrip("\"'”’»“)]")[-1:] for text in texts for line in text.split("\n"))
    known = {end: count for end, count in ends.items() if end in TERMINAL_PUNCTUATION or end == "…"}
    return "".join(sorted(end for end, count in known.items() if count >= 0.001 * sum(known.values())))


def find_abbreviations(texts: Sequence[str]) -> list[str]:
    """Words that a dot ends without ending the sentence, in small letters and without the dot."""
    dotted, goes_on, plain = Counter(), Counter(), Counter()
    for text in texts:
        for line in text.split("\n"):
            for word, follower in dotted_words(line):
                dotted[word] += 1
                goes_on[word] += follower.islower() or follower.isdigit()
    for text in texts:
        plain.update(word for word in text.lower().split() if word in dotted)
    found = [
        word
        for word, count in dotted.items()
        if count >= _MIN_DOTTED
        and count >= _MIN_DOTTED_SHARE * (count + plain[word])
        and (len(word) == 1 or goes_on[word] >= _MIN_GOES_ON_SHARE * count)
        and word.replace(".", "").isalpha()
    ]
    most_frequent = sorted(found, key=lambda word: (-dotted[word], word))[:_MAX_ABBREVIATIONS]
    return sorted(most_frequent)


def _is_held_out(key: str) -> bool:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < HELD_OUT * 2**64


def _base(language: str) -> tuple[Thresholds, str | None]:
    published, source = published_thresholds(language)
    flat = _heuristics(FilterConfig())
    return Thresholds.model_validate(flat.model_dump() | published), source


def _heuristics(thresholds: Thresholds) -> Thresholds:
    """Without the rules that look at models' scores, which a reference text says nothing about."""
    measured = set(measure("", Vocabulary(frozenset(), phrases=_phrases("en"))))
    off = {name: None for name in Thresholds.model_fields if Rule(name, 0).signal not in measured}
    return Thresholds.model_validate({**{name: getattr(thresholds, name) for name in Thresholds.model_fields}, **off})


def _phrases(language: str) -> Mapping[str, Sequence[str]]:
    known = SignalsConfig().languages()
    return known.get(language, known["en"])["phrases"]


def _documents(texts: Iterable[str], vocabulary: Vocabulary, base: Thresholds) -> list[Signals]:
    """Signals of the texts that are long enough to be pages."""
    measured = (measure(text, vocabulary) for text in texts)
    return [signals for signals in measured if (signals["words"] or 0) >= (base.min_words or 0)]


def _loosened(base: Thresholds, documents: Sequence[Signals], keep: float) -> dict[str, tuple[Rule, float | None]]:
    """For each rule that is on: the rule as it shall be, and the threshold that the documents alone ask for."""
    found = {}
    for rule in rules_of(base):
        if rule.name in SIZE_RULES:
            found[rule.name] = (rule, None)
            continue
        asked = _quantile([documents_value(signals, rule) for signals in documents], rule, keep)
        looser = min(asked, rule.threshold) if rule.name.startswith("min_") else max(asked, rule.threshold)
        found[rule.name] = (Rule(rule.name, looser), asked)
    return found


def documents_value(signals: Signals, rule: Rule) -> float:
    value = signals[rule.signal]
    assert value is not None, f"{rule.signal} is measured for every text of a reference"
    return float(value)


def _quantile(values: Sequence[float], rule: Rule, keep: float) -> float:
    """The strictest threshold of three digits that keeps the share of these values."""
    ordered = np.sort(values)
    kept = max(1, math.ceil(keep * len(ordered)))
    is_minimum = rule.name.startswith("min_")
    value = float(ordered[len(ordered) - kept] if is_minimum else ordered[kept - 1])
    return (math.floor if is_minimum else math.ceil)(value * 1000 - (1e-9 if not is_minimum else -1e-9)) / 1000


def _different(base: Thresholds, chosen: Sequence[Rule]) -> dict[str, float | None]:
    """Rules that are not as the flat thresholds have them."""
    flat = _heuristics(FilterConfig())
    on = {rule.name: rule.threshold for rule in chosen}
    return {name: on.get(name) for name in Thresholds.model_fields if on.get(name) != getattr(flat, name)}


def _report(
    base: Thresholds, rules: Mapping[str, tuple[Rule, float | None]], held_out: Sequence[Signals]
) -> dict[str, dict[str, float | None]]:
    return {
        name: {
            "start": getattr(base, name),
            "reference_alone": asked,
            "threshold": rule.threshold,
            "held_out_share_kept": _share(held_out, [rule]),
        }
        for name, (rule, asked) in rules.items()
    }


def _share(documents: Sequence[Signals], rules: Sequence[Rule]) -> float | None:
    if not documents:
        return None
    kept = sum(next(failed_rules(signals, rules), None) is None for signals in documents)
    return round(kept / len(documents), 4)
