"""Which rule drops what share of pages, by language: each language's own thresholds, and English ones beside them.

    .venv/bin/python benchmarks/language_funnel.py [--data ../shared/data] [--json] [--texts-out FOLDER]

Real and documentation pages in German, Russian, Ukrainian and other languages go through extract, signals and filter as
in a run with all languages. "English" holds every page against FineWeb's thresholds and Gopher's eight English stop
words, as a pipeline for English would. A page counts for the first rule that it fails. `--texts-out` writes the
extracted texts, a JSON-lines file for a language and WARC file, which `gristmill profile` can read.
"""

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from heuristics import extracted_documents

from gristmill.filters.config import FilterConfig, SignalsConfig
from gristmill.filters.filter import failed_rules, rules_of, run_filter
from gristmill.filters.heuristics import measure
from gristmill.filters.signals import run_signals, vocabularies
from gristmill.text.documents import read_documents, read_shard

WARCS = ("web-multilingual-00000", "docs-multilingual-00000", "docs-ukrainian-00000")
KEPT = "kept"
MIN_PAGES = 20
"""Languages of fewer pages are left out of the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--texts-out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = extracted_documents(arguments.data, Path(folder), WARCS)
        if arguments.texts_out:
            write_texts(documents, arguments.texts_out)
        result = funnel(documents, Path(folder))
    if arguments.json:
        print(json.dumps(result))
        return
    for origin, languages in result.items():
        for language, found in languages.items():
            show(origin, language, found)


def funnel(documents: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Origin (a WARC file) → language → pages, and for both sets of thresholds the share by outcome."""
    run_signals(documents, folder / "signals", SignalsConfig())
    # a null toxicity passes, so that languages with a model and without one compare
    run_filter(folder / "signals", folder / "filter", FilterConfig(max_toxicity=None))
    own: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    english: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in read_shard(folder / "filter" / "verdicts.parquet"):
        own[_group(row)][row["rule"] if row["decision"] == "dropped" else KEPT] += 1
    vocabulary, flat = vocabularies(SignalsConfig())["en"], rules_of(FilterConfig(max_toxicity=None))
    for document in read_documents(documents):
        signals = measure(document["text"], vocabulary)
        failed = next(failed_rules(signals, [rule for rule in flat if rule.signal in signals]), None)
        english[_group(document)][failed.name if failed else KEPT] += 1
    result: dict[str, dict[str, Any]] = {}
    for (origin, language), outcomes in sorted(own.items(), key=lambda item: (item[0][0], -item[1].total())):
        pages = outcomes.total()
        if pages >= MIN_PAGES:
            shares = {"own": outcomes, "english": english[origin, language]}
            result.setdefault(origin, {})[language] = {"pages": pages} | {
                name: {rule: round(count / pages, 4) for rule, count in counts.most_common()}
                for name, counts in shares.items()
            }
    return result


def show(origin: str, language: str, found: dict[str, Any]) -> None:
    print(f"\n{origin}, {language}: {found['pages']} pages\n\n| | own thresholds | English |\n|---|---|---|")
    rules = [KEPT, *(rule for rule in {**found["own"], **found["english"]} if rule != KEPT)]
    for rule in rules:
        own, english = found["own"].get(rule, 0.0), found["english"].get(rule, 0.0)
        print(f"| {rule if rule == KEPT else f'dropped by {rule}'} | {own:.1%} | {english:.1%} |")


def write_texts(documents: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for document in read_documents(documents):
        line = {"text": document["text"], "url": document["url"]}
        files[_group(document)].append(json.dumps(line, ensure_ascii=False) + "\n")
    for (origin, language), lines in files.items():
        (out / f"{origin}.{language}.jsonl").write_text("".join(lines), encoding="utf-8")


def _group(row: dict[str, Any]) -> tuple[str, str]:
    return Path(row["warc_file"]).name.split("-0000")[0], row["language"]


if __name__ == "__main__":
    main()
