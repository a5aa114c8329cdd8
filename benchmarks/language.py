"""Language identification: agreement with the whole text and speed, accuracy, hardened copies, Ukrainian and Russian.

On the texts that gristmill's fast extraction gives for the WARC files, and on lingua's test sentences (Apache-2.0).
Times are CPU time of this process: the four ways take turns on batches of texts, and the least disturbed of some rounds
counts for each. Use the ratios.

    python benchmarks/language.py [--data ../shared/data] [--json] [--rounds 5]
"""

import argparse
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from language_thresholds import sentences

from gristmill.crawl.records import Page, read_responses
from gristmill.text.clean import clean_text
from gristmill.text.config import LanguageConfig
from gristmill.text.extractors import decode_html, main_text, quick_text
from gristmill.text.language import LanguageIdentifier
from gristmill.text.language_model import load_model, model_path

WARCS = ("web-english-00000", "web-multilingual-00000", "docs-multilingual-00000")
UKRAINIAN_WARC = "docs-ukrainian-00000"
LONG = 2000
"""Characters of a text whose beginning is compared with the whole."""
BATCH = 50
CYRILLIC = ("uk", "ru", "be", "bg", "kk")
PAIRS = (("uk", "ru"), ("ru", "en"), ("de", "en"), ("fr", "en"), ("uk", "en"), ("es", "pt"), ("be", "ru"), ("kk", "ru"))
MIXED_LINES = 40
TWINS = str.maketrans("асеіорхуїАВСЕНІКМОРТХЇ", "aceiopxyïABCEHIKMOPTXÏ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    identifier = LanguageIdentifier(LanguageConfig())
    texts = {name: list(_texts(options.data / f"web/packed/{name}.warc.gz")) for name in (*WARCS, UKRAINIAN_WARC)}
    by_language = sentences(options.data)
    facts: dict[str, Any] = {
        **_whole_text(identifier, [text for name in WARCS for _, text in texts[name]], options.rounds),
        **_accuracy(identifier, by_language),
        "copies": _copies(identifier, by_language),
        "told_apart": _told_apart(identifier, texts[UKRAINIAN_WARC]),
        "judged": _judged(identifier, texts),
        "mixtures": _mixtures(identifier, by_language),
    }
    if options.json:
        print(json.dumps(facts))
    else:
        _print(facts)


def _texts(warc: Path) -> Iterator[tuple[str, str]]:
    """URL and main text of the pages that have one, as `extract.mode: fast` takes it."""
    for page in read_responses(warc, max_body_bytes=8_000_000):
        if isinstance(page, Page) and page.status == 200:
            html = decode_html(page.body, page.charset)
            if text := clean_text(main_text(html, quick_text(html)[0], "fast")):
                yield page.url, text


class _Model:
    """The model as it is: the whole line, in its own case, nothing repaired."""

    def __init__(self) -> None:
        self._model, self._codes = load_model(model_path(LanguageConfig()))

    def identify(self, text: str) -> tuple[str, float]:
        labels, scores = self._model.predict(" ".join(text.split()))
        return (self._codes[labels[0]], float(scores[0])) if labels else ("und", 0.0)


def _whole_text(identifier: LanguageIdentifier, texts: list[str], rounds: int) -> dict[str, Any]:
    long = [text for text in texts if len(text) > LONG]
    whole = LanguageIdentifier(LanguageConfig(max_chars=2 * max(map(len, long))))
    model = _Model()
    ways = {
        "identify": identifier.identify,
        "whole": whole.identify,
        "model": model.identify,
        "judge": identifier.judge,
    }
    cpu = dict.fromkeys(ways, 0.0)
    for batch in (long[start : start + BATCH] for start in range(0, len(long), BATCH)):
        seconds = [{name: _cpu_s(identify, batch) for name, identify in ways.items()} for _ in range(rounds)]
        for name in ways:
            cpu[name] += min(times[name] for times in seconds)
    ms = {name: 1000 * total / len(long) for name, total in cpu.items()}
    ours = [identifier.identify(text)[0] for text in long]
    return {
        "texts": len(texts),
        "long_texts": len(long),
        "same_top1": _share(a == whole.identify(text)[0] for a, text in zip(ours, long, strict=True)),
        "same_top1_as_model": _share(a == model.identify(text)[0] for a, text in zip(ours, long, strict=True)),
        "speed_ratio": round(ms["whole"] / ms["identify"], 2),
        "speed_ratio_to_model": round(ms["model"] / ms["identify"], 2),
        "identify_ms": round(ms["identify"], 3),
        "judge_ms": round(ms["judge"], 3),
        "judge_adds_ms": round(ms["judge"] - ms["identify"], 3),
    }


def _accuracy(identifier: LanguageIdentifier, by_language: dict[str, list[str]]) -> dict[str, Any]:
    """Over all sentences of the languages the model knows; those of other languages cannot be right."""
    model = _Model()
    inside = {code: texts for code, texts in by_language.items() if code in identifier.codes}
    outside = {code: texts for code, texts in by_language.items() if code not in inside}
    pairs = [(code, text) for code, texts in inside.items() for text in texts]
    strangers = [identifier.identify(text) for texts in outside.values() for text in texts]
    return {
        "sentences": len(pairs),
        "accuracy": _share(identifier.identify(text)[0] == code for code, text in pairs),
        "accuracy_model": _share(model.identify(text)[0] == code for code, text in pairs),
        "outside": {
            "languages": sorted(outside),
            "sentences": len(strangers),
            "named_with_65": _share(score >= 0.65 for _, score in strangers),
        },
    }


def _copies(identifier: LanguageIdentifier, by_language: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Accuracy on copies of the sentences: in capitals, with a Latin i, with every letter that has a Latin twin."""
    spoilt: dict[str, Callable[[str], str]] = {
        "original": str,
        "upper": str.upper,
        "latin_i": lambda text: text.translate(str.maketrans("іІ", "iI")),
        "latin_twins": lambda text: text.translate(TWINS),
        "latin_twins_upper": lambda text: text.translate(TWINS).upper(),
    }
    ways = {"": identifier.identify, "model_": _Model().identify}
    return {
        code: {
            prefix + name: _share(identify(spoil(text))[0] == code for text in by_language[code])
            for prefix, identify in ways.items()
            for name, spoil in spoilt.items()
        }
        for code in CYRILLIC
    }


def _told_apart(identifier: LanguageIdentifier, pages: list[tuple[str, str]]) -> dict[str, Any]:
    """Pages by the language of the manual they belong to (its host says -uk or -ru), and what they are named.

    Manuals are translated in part, so many pages are English rightly; none may be the other of the two.
    """
    table: Counter[str] = Counter()
    for url, text in pages:
        manual = "uk" if "-uk." in url.split("/")[2] else "ru"
        table[f"{manual}: {identifier.identify(text)[0]}"] += 1
    return {**dict(sorted(table.items())), "confused": table["uk: ru"] + table["ru: uk"]}


def _judged(identifier: LanguageIdentifier, texts: dict[str, list[tuple[str, str]]]) -> dict[str, dict[str, int]]:
    """Pages by the status of their language, for each WARC file."""
    counts = {name: Counter(identifier.judge(text).status for _, text in pages) for name, pages in texts.items()}
    return {name: dict(sorted(count.items())) for name, count in counts.items()}


def _mixtures(identifier: LanguageIdentifier, by_language: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Pages of 40 sentences, one a line, some of them in another language: in one stretch, or spread evenly.

    mixed: share of pages called so. paragraphs: share of lines whose language is right.
    """
    found: dict[str, dict[str, float]] = {}
    for count in (0, 4, 12, 20):
        for spread in ("stretch", "spread"):
            judged = [
                (identifier.judge("\n".join(line for line, _ in page)), [code for _, code in page])
                for first, second in PAIRS
                for page in _pages(by_language[first], by_language[second], (first, second), count, spread)
            ]
            right = [
                a == b for judgement, codes in judged for a, b in zip(judgement.paragraph_languages, codes, strict=True)
            ]
            found[f"{count} of {MIXED_LINES} {spread}"] = {
                "mixed": _share(judgement.status == "mixed" for judgement, _ in judged),
                "paragraphs": _share(iter(right)),
            }
    return found


def _pages(
    first: list[str], second: list[str], codes: tuple[str, str], count: int, spread: str
) -> Iterator[list[tuple[str, str]]]:
    """Ten pages of lines with their languages, `count` of them of the second."""
    draw = random.Random(f"{codes} {count} {spread}")
    for _ in range(10):
        lines = [(line, codes[0]) for line in draw.sample(first, MIXED_LINES - count)]
        others = [(line, codes[1]) for line in draw.sample(second, count)]
        middle = len(lines) // 2
        if spread == "stretch":
            yield [*lines[:middle], *others, *lines[middle:]]
            continue
        places = [((at + 0.5) / len(part), line) for part in (lines, others) for at, line in enumerate(part)]
        yield [line for _, line in sorted(places, key=lambda place: place[0])]


def _cpu_s(identify: Callable[[str], object], texts: list[str]) -> float:
    started = time.process_time()
    for text in texts:
        identify(text)
    return time.process_time() - started


def _share(hits: Iterator[bool]) -> float:
    found = list(hits)
    return round(sum(found) / len(found), 4)


def _print(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if not isinstance(value, dict):
            print(f"{name:24}{value}")
    for name in ("outside", "told_apart", "judged", "mixtures"):
        print(f"{name:24}{facts[name]}")
    columns = list(next(iter(facts["copies"].values())))
    print(f"\n{'copies':8}" + "  ".join(columns))
    for code, row in facts["copies"].items():
        print(f"{code:8}" + "  ".join(f"{row[column]:{len(column)}.3f}" for column in columns))


if __name__ == "__main__":
    main()
