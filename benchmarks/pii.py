"""Private data: precision and recall by kind on sentences that were written for it, beside datatrove's formatter.

`benchmarks/pii_sentences.jsonl` has some 300 sentences in English, German, Ukrainian, Russian and program code, half of
them without private data but with what looks like it: versions, ISBNs, dates, order numbers, coordinates, hashes.
`{{email:…}}` marks what is private; `§` inside a mark is taken out (so that no scanner takes a made-up key for a leak).
Every second sentence was never looked at while the patterns were changed: `held out`. People, mailboxes and accounts
are made up; phone numbers come from ranges set aside for fiction or end in zeros.

A find counts when kind, beginning and end are right. Intervals are Wilson's at 95 %. Milliseconds are CPU time on the
C4 sample, as it is and cut or repeated to 5,000 characters a page.

With `--documents` (an artifact of documents), the phone numbers on real pages are compared with those of phonenumbers'
own matcher at its leniency VALID, in the first 20,000 characters of each; differences are printed, to be judged by eye.

    python benchmarks/pii.py [--data ../shared/data] [--documents FOLDER] [--errors] [--json]
"""

import argparse
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import phonenumbers
from scipy.stats import binomtest

from gristmill.filters.pii import PiiMasker, Span
from gristmill.filters.pii_config import PiiConfig, PiiKind
from gristmill.filters.pii_phones import REGIONS
from gristmill.text.documents import read_documents

SENTENCES = Path(__file__).with_name("pii_sentences.jsonl")
C4 = "text/c4_sample.jsonl.gz"
_MARK = re.compile(r"\{\{(\w+):(.*?)\}\}")

Find = Callable[[str, str], Iterable[Span]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--errors", action="store_true", help="print what was missed or wrong, in the seen half only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sentences = read_sentences()
    masker = PiiMasker(PiiConfig())
    systems: dict[str, Find] = {"gristmill": masker.find, "datatrove": datatrove_finder()}
    result: dict[str, Any] = {"sentences": len(sentences), "held_out": {}, "all": {}}
    for name, find in systems.items():
        result["all"][name] = scores(sentences, find)
        result["held_out"][name] = scores(sentences[1::2], find)
    result["ms_per_doc"] = {name: milliseconds(options.data, find) for name, find in systems.items()}
    if options.documents:
        result["phones_on_pages"] = phones_on_pages(options.documents, masker)
    if options.errors:
        _print_errors(sentences[::2], masker.find)
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)


def read_sentences() -> list[dict[str, Any]]:
    """language, text without marks, and spans [(start, end, kind)] of each sentence."""
    sentences = []
    for line in SENTENCES.read_text(encoding="utf-8").splitlines():
        row, text, spans, end = json.loads(line), "", [], 0
        for mark in _MARK.finditer(row["text"]):
            text += row["text"][end : mark.start()]
            private = mark[2].replace("§", "")
            spans.append((len(text), len(text) + len(private), mark[1]))
            text, end = text + private, mark.end()
        sentences.append({"language": row["language"], "text": text + row["text"][end:], "spans": spans})
    return sentences


def scores(sentences: list[dict[str, Any]], find: Find) -> dict[str, dict[str, Any]]:
    """Kind → right, wrong and missed finds, with precision and recall and their intervals; `all` for all kinds."""
    right, wrong, missed = Counter(), Counter(), Counter()
    for sentence in sentences:
        truth = set(sentence["spans"])
        found = {(span.start, span.end, span.kind) for span in find(sentence["text"], sentence["language"])}
        for counter, spans in ((right, truth & found), (wrong, found - truth), (missed, truth - found)):
            counter.update(kind for _, _, kind in spans)
            counter["all"] += len(spans)
    return {
        kind: {
            "right": right[kind],
            "wrong": wrong[kind],
            "missed": missed[kind],
            "precision": share(right[kind], right[kind] + wrong[kind]),
            "recall": share(right[kind], right[kind] + missed[kind]),
        }
        for kind in [*sorted({*right, *wrong, *missed} - {"all"}), "all"]
    }


def share(hits: int, of: int) -> list[float] | None:
    """[share, lower, upper]; None of nothing."""
    if not of:
        return None
    interval = binomtest(hits, of).proportion_ci(method="wilson")
    return [round(value, 3) for value in (hits / of, interval.low, interval.high)]


def datatrove_finder() -> Find:
    """datatrove's formatter replaces without saying where: its patterns and its check are asked instead."""
    from datatrove.pipeline.formatters import PIIFormatter

    formatter = PIIFormatter()
    replacers: dict[PiiKind, Any] = {"email": formatter.emails_replacer, "ip": formatter.ip_replacer}

    def find(text: str, language: str) -> list[Span]:
        return [
            Span(match.start(), match.end(), kind)
            for kind, replacer in replacers.items()
            for match in replacer.regex.finditer(text)
            if replacer.validator is None or replacer.validator(match[0])
        ]

    return find


def milliseconds(data: Path, find: Find) -> dict[str, float] | None:
    path = data / C4
    if not path.is_file():
        return None
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    pages = [(text + "\n") * (5000 // (len(text) + 1) + 1) for text in texts]
    return {
        "as_they_are": _best_ms(texts, find),
        "mean_chars": round(sum(map(len, texts)) / len(texts)),
        "5000_chars": _best_ms([page[:5000] for page in pages], find),
    }


def _best_ms(texts: list[str], find: Find, rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for text in texts:
            find(text, "en")
        times.append(time.process_time() - start)
    return round(1000 * min(times) / len(texts), 3)


def phones_on_pages(documents: Path, masker: PiiMasker) -> dict[str, Any]:
    """How many numbers either finds, and what only one of them does, with the words before it."""
    result: dict[str, Any] = {"pages": 0, "both": 0, "only_gristmill": [], "only_phonenumbers": []}
    for page in read_documents(documents, columns=["text", "language"]):
        text, language = page["text"][:20_000], page["language"]
        regions = REGIONS.get(language) or (None,)
        matcher = phonenumbers.PhoneNumberMatcher(text, regions[0], leniency=phonenumbers.Leniency.VALID)
        ours = {(span.start, span.end) for span in masker.find(text, language) if span.kind == "phone"}
        theirs = {(match.start, match.end) for match in matcher}
        result["pages"] += 1
        for mine, others, name in ((ours, theirs, "only_gristmill"), (theirs, ours, "only_phonenumbers")):
            alone = [(start, end) for start, end in sorted(mine) if not any(start < b and a < end for a, b in others)]
            result[name] += [f"{text[max(0, start - 40) : start]}⟦{text[start:end]}⟧" for start, end in alone]
            result["both"] += len(mine) - len(alone) if name == "only_gristmill" else 0
    return result


def _print_errors(sentences: list[dict[str, Any]], find: Find) -> None:
    for sentence in sentences:
        text, truth = sentence["text"], set(sentence["spans"])
        found = {(span.start, span.end, span.kind) for span in find(text, sentence["language"])}
        for label, spans in (("missed", truth - found), ("wrong", found - truth)):
            for start, end, kind in sorted(spans):
                print(f"{label} {kind} {text[start:end]!r} in {sentence['language']}: {text}")


def _print(result: dict[str, Any]) -> None:
    for half in ("held_out", "all"):
        print(f"\n{half.replace('_', ' ')}")
        print(f"{'':10} {'kind':6} {'right':>5} {'wrong':>5} {'missed':>6}   precision             recall")
        for system, kinds in result[half].items():
            for kind, row in kinds.items():
                figures = [
                    "–".ljust(20) if row[name] is None else "{:.3f} [{:.3f}, {:.3f}]".format(*row[name])
                    for name in ("precision", "recall")
                ]
                counts = f"{row['right']:5} {row['wrong']:5} {row['missed']:6}"
                print(f"{system:10} {kind:6} {counts}   {'  '.join(figures)}")
    if "phones_on_pages" in result:
        found = result["phones_on_pages"]
        print(f"\nphone numbers on {found['pages']} pages: found by both {found['both']}")
        for name in ("only_gristmill", "only_phonenumbers"):
            print(f"{name.replace('_', ' by ', 1)}: {len(found[name])}")
            print("".join(f"    {' '.join(context.split())}\n" for context in found[name]), end="")
    for system, times in result["ms_per_doc"].items():
        if times:
            print(
                f"{system}: {times['as_they_are']} ms a C4 document (mean {times['mean_chars']} characters), "
                f"{times['5000_chars']} ms for 5,000 characters"
            )


if __name__ == "__main__":
    main()
