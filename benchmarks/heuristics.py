"""The heuristic rules beside datatrove's, on the texts of real pages: the same decisions, and how fast.

    .venv/bin/python benchmarks/heuristics.py --datatrove-python ../datatrove/bin/python [--json]

    python3.11 -m venv ../datatrove && ../datatrove/bin/pip install 'datatrove[processing]==0.10.1' spacy

`agreement`: of all rules the worst share of texts on which ours and datatrove's decide the same, given datatrove's
words and sentences. `agreement_own_tokens`: the same with our own words and sentences. Milliseconds are CPU time: ours
for all signals of a text, datatrove's for its four filters in FineWeb's order, of which a dropped text does not see the
rest.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.filters.config import FilterConfig, SignalsConfig
from gristmill.filters.filter import rules_of
from gristmill.filters.heuristics import Signals, measure
from gristmill.filters.signals import vocabularies
from gristmill.text.documents import read_documents

WARCS = ("web-english-00000", "web-multilingual-00000", "docs-multilingual-00000", "docs-ukrainian-00000")


@dataclass(frozen=True)
class Comparison:
    """For each rule the texts on which both decide the same, and those that datatrove drops."""

    texts: int
    same: dict[str, int]
    same_own_tokens: dict[str, int]
    dropped_by_datatrove: dict[str, int]
    ms_per_doc: float
    datatrove_ms_per_doc: float

    def as_json(self) -> dict[str, Any]:
        return {
            "texts": self.texts,
            "agreement": min(self.same.values()) / self.texts,
            "agreement_own_tokens": min(self.same_own_tokens.values()) / self.texts,
            "heuristics_ms_per_doc": round(self.ms_per_doc, 3),
            "datatrove_ms_per_doc": round(self.datatrove_ms_per_doc, 3),
            "rules": {
                rule: {
                    "agreement": self.same[rule] / self.texts,
                    "agreement_own_tokens": self.same_own_tokens[rule] / self.texts,
                    "dropped_by_datatrove": self.dropped_by_datatrove[rule],
                }
                for rule in self.same
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--datatrove-python", type=Path, required=True, help="of an environment with datatrove 0.10.1")
    parser.add_argument("--texts", type=Path, help='JSON lines with "text" in place of the WARC files')
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.texts:
        lines = arguments.texts.read_text(encoding="utf-8").split("\n")
        texts = [json.loads(line)["text"] for line in lines if line]
        result = compare(texts, arguments.datatrove_python).as_json()
    else:
        result = compare_heuristics(arguments.data, arguments.datatrove_python)
    if arguments.json:
        print(json.dumps(result))
        return
    print("| rule | dropped by datatrove | same decision, same tokens | same decision, own tokens |\n|---|---|---|---|")
    for rule, found in result["rules"].items():
        shares = f"{found['agreement']:.2%} | {found['agreement_own_tokens']:.2%}"
        print(f"| {rule} | {found['dropped_by_datatrove']} | {shares} |")
    print(f"\n{result['texts']} texts; worst rule {result['agreement']:.2%}, {result['agreement_own_tokens']:.2%}")
    print(f"{result['heuristics_ms_per_doc']} ms a document, datatrove {result['datatrove_ms_per_doc']} ms")


def compare_heuristics(data: Path, datatrove_python: Path) -> dict[str, Any]:
    """The benchmark's JSON for all texts of the packed WARC files."""
    with tempfile.TemporaryDirectory() as folder:
        documents = extracted_documents(data, Path(folder))
        texts = [document["text"] for document in read_documents(documents, columns=["text"])]
    return compare(texts, datatrove_python).as_json()


def compare(texts: Sequence[str], datatrove_python: Path) -> Comparison:
    """Ours beside datatrove's on texts that have a word each."""
    theirs, datatrove_seconds = datatrove_decisions(texts, datatrove_python)
    english = vocabularies(SignalsConfig())["en"]
    measure(texts[0], english)
    started = time.process_time()
    own = [measure(text, english) for text in texts]
    seconds = time.process_time() - started
    same, same_own, dropped = {}, {}, {}
    for text, signals, their in zip(texts, own, theirs, strict=True):
        given = measure(text, english, words=their["words"], sentences=their["sentences"].__getitem__)
        with_tokens, with_own = decisions(given), decisions(signals)
        for rule, keeps in their["rules"].items():
            same[rule] = same.get(rule, 0) + (with_tokens[rule] == keeps)
            same_own[rule] = same_own.get(rule, 0) + (with_own[rule] == keeps)
            dropped[rule] = dropped.get(rule, 0) + (keeps is False)
    ms, datatrove_ms = seconds * 1000 / len(texts), datatrove_seconds * 1000 / len(texts)
    return Comparison(len(texts), same, same_own, dropped, ms, datatrove_ms)


def decisions(signals: Signals) -> dict[str, bool]:
    """Rule → whether it alone keeps a text with these signals, by FineWeb's thresholds."""
    found = {
        rule.name: rule.keeps(signals[rule.signal] or 0) for rule in rules_of(FilterConfig()) if rule.signal in signals
    }
    # one rule in datatrove
    both = ("max_hash_word_ratio", "max_ellipsis_word_ratio")
    return found | {"+".join(both): all(found[name] for name in both)}


def datatrove_decisions(texts: Iterable[str], python: Path) -> tuple[list[dict[str, Any]], float]:
    """What `datatrove_heuristics.py` writes for each text, and the CPU seconds of datatrove's own filters."""
    with tempfile.TemporaryDirectory() as folder:
        given, answers = Path(folder) / "texts.jsonl", Path(folder) / "decisions.jsonl"
        given.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        program = Path(__file__).with_name("datatrove_heuristics.py")
        subprocess.run([str(python), str(program), str(given), str(answers)], check=True)
        *decided, seconds = [json.loads(line) for line in answers.read_text(encoding="utf-8").split("\n") if line]
    return decided, seconds["cpu_s"]


def extracted_documents(data: Path, folder: Path, warcs: Sequence[str] = WARCS) -> Path:
    """The artifact of documents of the packed WARC files, in any language, by ingest and extract, below `folder`."""
    from gristmill.crawl.config import IngestConfig
    from gristmill.crawl.ingest import run_ingest
    from gristmill.text.config import ExtractConfig
    from gristmill.text.extract import run_extract

    pages, documents = folder / "pages", folder / "documents"
    pages.mkdir(parents=True)
    paths = [str(data / "web" / "packed" / f"{name}.warc.gz") for name in warcs]
    run_ingest(pages, IngestConfig.model_validate({"sources": [{"kind": "warc", "name": "packed", "paths": paths}]}))
    run_extract(pages, documents, ExtractConfig(languages=all_languages(), min_language_score=0), workers=1)
    return documents


def all_languages() -> list[str]:
    """Every language that the shipped model knows."""
    import fasttext

    from gristmill.text.config import LanguageConfig
    from gristmill.text.language_model import model_path

    labels = fasttext.load_model(str(model_path(LanguageConfig()))).get_labels()
    return sorted(str(label).removeprefix("__label__") for label in labels)


if __name__ == "__main__":
    main()
