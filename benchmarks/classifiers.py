"""What the trained classifiers are worth, and what they cost a document.

    python benchmarks/classifiers.py --data ../shared/data [--json]

Trains toxicity for German and Russian, literacy for Ukrainian and quality for English from the labelled texts in
`--data` (some two minutes), and measures each on texts that its training never saw; the shipped English model and word
lists beside them. Cost: CPU milliseconds a document, all four tasks one after another, on English web texts.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gristmill.filters.classifier import TASKS, Classifier
from gristmill.filters.classifier_config import MODELS
from gristmill.filters.classifier_evaluation import evaluate_scores, group_sentences
from gristmill.filters.classifier_training import train_classifier
from gristmill.filters.labelled_text import LabelledText, read_labelled, read_unlabelled, split_held_out
from gristmill.filters.word_list import WordList
from gristmill.jsonl import read_jsonl

COLUMNS = ("texts", "positive", "precision", "recall", "roc_auc", "false_positive_rate", "pairs_right")
TOXICITY, LITERACY, QUALITY = TASKS["toxicity"], TASKS["literacy"], TASKS["quality"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scores = dict(measured(arguments.data, Path(folder)))
        cost = milliseconds(arguments.data, Path(folder))
    for name, by_source in scores.items():
        for source, found in by_source.items():
            cells = (f"{column} {_cell(found.get(column))}" for column in COLUMNS if found.get(column) is not None)
            print(f"{name:24}{source:30}", "  ".join(cells))
    print("CPU ms a document:", "  ".join(f"{name} {value:.3f}" for name, value in cost.items()))
    if arguments.json:
        print(json.dumps({"scores": scores, "ms_per_doc": cost}))


def measured(data: Path, folder: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    toxicity, lists = data / "toxicity", data / "toxicity" / "ldnoobw"
    shipped = Classifier.load(MODELS / "toxicity.en.ftz", TOXICITY)
    names = ("davidson", "toxic_spans_civilcomments", "wikipedia_comments")
    english = read_labelled([toxicity / f"{name}.jsonl.gz" for name in names], TOXICITY)
    held_out, groups = split_held_out(english)[1], list(group_sentences("en"))
    yield "toxicity.en", evaluate_scores(shipped.score, held_out, TOXICITY, threshold=0.5, others=groups)
    yield "word list en", _word_list(lists / "en", held_out, groups)
    german = list(read_labelled([toxicity / "germeval_de.jsonl.gz"], TOXICITY))
    others = [*_german_functional_tests(toxicity, folder), *group_sentences("de")]
    yield from _trained("toxicity.de", german, others, folder)
    yield "word list de", _word_list(lists / "de", split_held_out(german)[1], others)
    russian = list(read_labelled([toxicity / "russe_detox_ru.jsonl.gz"], TOXICITY))
    groups = list(group_sentences("ru"))
    yield from _trained("toxicity.ru", russian, groups, folder)
    yield "word list ru", _word_list(lists / "ru", split_held_out(russian)[1], groups)
    translated = [*read_labelled([MODELS / "uk_translated.jsonl"], TOXICITY), *group_sentences("uk")]
    transferred = Classifier.load(folder / "toxicity.ru.ftz", TOXICITY)
    yield "toxicity.ru on uk", evaluate_scores(transferred.score, [], TOXICITY, threshold=0.5, others=translated)
    yield "word list ru on uk", _word_list(lists / "ru", [], translated)
    pairs = list(read_labelled([data / "eval" / "uk_gec_minimal_pairs.jsonl.gz"], LITERACY))
    yield from _trained("literacy.uk", pairs, [], folder)
    human = read_labelled([data / "quality" / "dclm_human_quality_majority.jsonl.gz"], QUALITY)
    yield from _trained("quality.en", list(_instructions_against_crawl(data)), human, folder)


def _trained(
    name: str, rows: list[LabelledText], others: Iterable[LabelledText], folder: Path
) -> Iterable[tuple[str, dict[str, Any]]]:
    task = TASKS[name.split(".")[0]]
    training, held_out = split_held_out(rows)
    train_classifier(training, folder / f"{name}.ftz", task)
    classifier = Classifier.load(folder / f"{name}.ftz", task)
    yield name, evaluate_scores(classifier.score, held_out, task, threshold=0.5, others=others)


def _word_list(path: Path, rows: list[LabelledText], others: list[LabelledText]) -> dict[str, Any]:
    return evaluate_scores(WordList.load(path).score, rows, TOXICITY, threshold=0.5, others=others)


def _german_functional_tests(toxicity: Path, folder: Path) -> Iterable[LabelledText]:
    """Multilingual HateCheck (Röttger et al. 2022, arXiv:2206.09917), its German cases."""
    rows = [row for _, row in read_jsonl(toxicity / "mhc_de_es_fr.jsonl.gz") if row["lang"] == "german"]
    (folder / "hatecheck_de.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return read_labelled([folder / "hatecheck_de.jsonl"], TOXICITY)


def _instructions_against_crawl(data: Path) -> Iterable[LabelledText]:
    """DCLM's choice in small: instructions with their answers are good, the crawl is not."""
    for _, row in read_jsonl(data / "sft" / "alpaca_en.jsonl.gz"):
        yield LabelledText(f"{row['instruction']}\n{row['output']}", QUALITY.positive, source="alpaca_en")
    for _, row in read_jsonl(data / "sft" / "dolly_hhrlhf_small.jsonl.gz"):
        yield LabelledText(row["response"], QUALITY.positive, source="dolly")
    yield from read_unlabelled(data / "text" / "c4_sample.jsonl.gz", QUALITY.negative)


def milliseconds(data: Path, folder: Path) -> dict[str, float]:
    """CPU time a text of c4_sample (mean 2,439 characters), by task, and of four tasks together."""
    with gzip.open(data / "text" / "c4_sample.jsonl.gz") as file:
        texts = [json.loads(line)["text"] for line in file]
    scorers: dict[str, Callable[[str], object]] = {
        "toxicity": Classifier.load(MODELS / "toxicity.en.ftz", TOXICITY).score,
        "quality": Classifier.load(folder / "quality.en.ftz", QUALITY).score,
        "literacy": Classifier.load(folder / "literacy.uk.ftz", LITERACY).score,
        # the same cost as a model of topics: words alone, one passage
        "topic": Classifier.load(folder / "quality.en.ftz", TASKS["topic"]).label,
        "bad_words": WordList.load(data / "toxicity" / "ldnoobw" / "en").count,
    }
    found = {
        name: min(_seconds(scorer, texts) for _ in range(5)) / len(texts) * 1e3 for name, scorer in scorers.items()
    }
    return found | {"all": sum(found.values())}


def _seconds(scorer: Callable[[str], object], texts: list[str]) -> float:
    begun = time.process_time()
    for text in texts:
        scorer(text)
    return time.process_time() - begun


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
