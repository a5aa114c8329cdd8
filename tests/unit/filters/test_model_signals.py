import json
from pathlib import Path

import pytest

from gristmill.errors import SourceUnavailable
from gristmill.filters.classifier import TASKS
from gristmill.filters.classifier_config import MODELS, ClassifiersConfig
from gristmill.filters.classifier_training import train_classifier
from gristmill.filters.config import SignalsConfig
from gristmill.filters.labelled_text import LabelledText
from gristmill.filters.model_signals import MODEL_FIELDS, ModelSignals, prepare_models
from gristmill.filters.signals import run_signals
from gristmill.text.documents import read_documents

GOOD = ["theorem", "lemma", "proof", "axiom", "integer"]
CRAWL = ["click", "subscribe", "login", "cookie", "share"]


def page(words: list[str], number: int) -> str:
    return " ".join(words[(number + place * place) % len(words)] for place in range(30))


def classifiers(**tasks) -> ClassifiersConfig:
    return ClassifiersConfig.model_validate(tasks)


@pytest.fixture
def references(tmp_path) -> Path:
    """40 reference texts about numbers."""
    rows = [json.dumps({"text": f"{page(GOOD, number)} {'x' * number}"}) for number in range(40)]
    (tmp_path / "references.jsonl").write_text("\n".join(rows))
    return tmp_path / "references.jsonl"


def test_a_quality_model_trained_against_the_crawl_separates_both_and_stays_in_the_artifact(
    references, write_documents, tmp_path
):
    rows = [{"text": f"{page(CRAWL, number)} {'y' * number}"} for number in range(60)]
    rows += [{"text": page(GOOD, 7), "url": "https://good.org/"}, {"text": "Ein Satz.", "language": "de"}]
    config = SignalsConfig.model_validate(
        {"classifiers": {"quality": {"en": {"train": {"positive": [str(references)], "seed": 3}}}}}
    )
    reports = [
        run_signals(write_documents(f"in{shards}", rows, shards=shards), tmp_path / f"out{shards}", config)
        for shards in (1, 3)
    ]
    models = [(tmp_path / f"out{shards}" / "models" / "quality.en.ftz").read_bytes() for shards in (1, 3)]
    assert models[0] == models[1]
    scores = {row["url"]: row["quality"] for row in read_documents(tmp_path / "out1")}
    good = scores.pop("https://good.org/")
    assert scores.pop("https://example.org/61") is None  # German
    assert good > max(scores.values())
    trained = reports[0].details["trained_models"]["signals.classifiers.quality.en"]
    assert trained["trained_on"] > 20
    assert trained["held_out"]["roc_auc"] > 0.9
    assert reports[0].details["no_quality_model"]["de"]["documents"] == 1


def test_a_stage_that_is_continued_does_not_train_again(references, write_documents, tmp_path):
    documents = write_documents("in", [{"text": f"{page(CRAWL, n)} {'y' * n}"} for n in range(40)])
    config = classifiers(quality={"en": {"train": {"positive": [str(references)]}}})
    first = prepare_models(config, {}, documents, tmp_path / "out")
    written = (tmp_path / "out" / "models" / "quality.en.ftz").stat().st_mtime_ns
    assert prepare_models(config, {}, documents, tmp_path / "out") == first
    assert (tmp_path / "out" / "models" / "quality.en.ftz").stat().st_mtime_ns == written


def test_topics_and_bad_words_are_measured_for_the_languages_that_have_them(tmp_path, write_documents):
    rows = [
        LabelledText(page(words, n), label, "x")
        for label, words in (("maths", GOOD), ("ads", CRAWL))
        for n in range(15)
    ]
    train_classifier(rows, tmp_path / "topic.ftz", TASKS["topic"], buckets=5000)
    (tmp_path / "bad").write_text("cookie\n")
    config = classifiers(topic={"en": str(tmp_path / "topic.ftz")}, toxicity={"en": None})
    files, trained = prepare_models(config, {"en": str(tmp_path / "bad")}, write_documents("in", []), tmp_path)
    assert trained == {}
    signals = ModelSignals(files)
    found = signals.measure("a lemma, its proof and a cookie", "en")
    assert set(found) == {name for name, _ in MODEL_FIELDS}
    assert (found["topic"], found["bad_words"], found["bad_word_ratio"]) == ("maths", 1, pytest.approx(1 / 7))
    assert found["topic_score"] > 0.5
    assert found["toxicity"] is None
    assert not [value for value in signals.measure("a cookie", "de").values() if value is not None]
    assert {task: dict(counts) for task, counts in signals.missing.items()} == {
        "toxicity": {"en": 1, "de": 1},
        "topic": {"de": 1},
    }
    assert signals.measure("", "en")["topic"] is None


def test_the_identity_of_a_trained_model_is_what_it_learns_from(references, tmp_path):
    copy = tmp_path / "elsewhere.jsonl"
    copy.write_bytes(references.read_bytes())
    one, two = (classifiers(quality={"en": {"train": {"positive": [str(path)]}}}) for path in (references, copy))
    assert one.identity() == two.identity()
    copy.write_text('{"text": "other"}\n')
    assert one.identity() != two.identity()
    seeded = classifiers(quality={"en": {"train": {"positive": [str(references)], "seed": 1}}})
    assert seeded.identity() != one.identity()
    assert one.models("toxicity") == {"en": str(MODELS / "toxicity.en.ftz")}


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"quality": {"en": {"train": {}}}}, "name labelled files in `data`, or files of one label"),
        ({"literacy": {"uk": {"train": {"positive": ["a"]}}}}, r"literacy\.uk\.train has positive texts and no others"),
        ({"max_chars": 10}, "greater than or equal to 100"),
    ],
)
def test_a_training_that_cannot_work_is_refused(tasks, said):
    with pytest.raises(ValueError, match=said):
        classifiers(**tasks)


def test_files_that_are_not_there_or_damaged_are_named_before_any_work(tmp_path, write_documents):
    documents = write_documents("in", [{"text": "x"}])
    with pytest.raises(SourceUnavailable, match=r"signals\.classifiers\.quality\.en: cannot read .*none\.ftz"):
        prepare_models(classifiers(quality={"en": str(tmp_path / "none.ftz")}), {}, documents, tmp_path)
    (tmp_path / "page.ftz").write_text("<html>")
    with pytest.raises(ValueError, match=r"page\.ftz is no fastText model"):
        prepare_models(classifiers(quality={"en": str(tmp_path / "page.ftz")}), {}, documents, tmp_path)
    with pytest.raises(SourceUnavailable, match=r"signals\.bad_words\.de: cannot read"):
        prepare_models(classifiers(), {"de": str(tmp_path / "none")}, documents, tmp_path)
