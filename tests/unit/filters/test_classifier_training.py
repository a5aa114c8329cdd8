import random

import pytest

from gristmill.filters.classifier import TASKS, Classifier, check_model
from gristmill.filters.classifier_training import MIN_LINES, effort, train_classifier, training_lines
from gristmill.filters.labelled_text import LabelledText

TOXICITY, TOPIC = TASKS["toxicity"], TASKS["topic"]
TOPIC_WORDS = {
    "law": ["court", "judge", "verdict", "appeal"],
    "sport": ["goal", "match", "referee", "league"],
    "food": ["bread", "oven", "flour", "salt"],
}


def toy_rows(count: int, words: dict[str, list[str]]) -> list[LabelledText]:
    rng = random.Random(1)
    common = ["the", "a", "of", "to", "and", "is", "was", "on", "in", "at"]
    labels = [list(words)[number % len(words)] for number in range(count)]
    return [
        LabelledText(" ".join(rng.choices(common, k=6) + rng.choices(words[label], k=2)), label, "toy")
        for label in labels
    ]


INSULTS = {"toxic": ["idiot", "moron", "stupid", "loser"], "harmless": ["river", "garden", "music", "bread"]}


def test_training_twice_gives_the_same_bytes_and_a_classifier_that_works(tmp_path):
    for name in ("first.ftz", "second.ftz"):
        train_classifier(toy_rows(300, INSULTS), tmp_path / name, TOXICITY, seed=3, buckets=5000)
    assert (tmp_path / "first.ftz").read_bytes() == (tmp_path / "second.ftz").read_bytes()
    check_model(tmp_path / "first.ftz", TOXICITY)
    classifier = Classifier.load(tmp_path / "first.ftz", TOXICITY)
    assert classifier.score("a stupid loser is the moron") > 0.5 > classifier.score("the music in the garden")


def test_compressed_models_stay_below_two_megabytes(tmp_path):
    train_classifier(toy_rows(300, INSULTS), tmp_path / "small.ftz", TOXICITY, compress=True, buckets=5000)
    assert (tmp_path / "small.ftz").stat().st_size < 2_000_000
    classifier = Classifier.load(tmp_path / "small.ftz", TOXICITY)
    assert classifier.score("a stupid loser is the moron") > classifier.score("the music in the garden")


def test_a_classifier_of_topics_names_the_most_probable_one(tmp_path):
    train_classifier(toy_rows(300, TOPIC_WORDS), tmp_path / "topic.ftz", TOPIC, buckets=5000)
    classifier = Classifier.load(tmp_path / "topic.ftz", TOPIC)
    topic, score = classifier.label("The judge of the court heard an appeal against the verdict.")
    assert topic == "law"
    assert 1 / 3 < score <= 1
    assert classifier.label("") == (None, 0.0)


def test_harmless_comments_are_repeated_to_the_weight_of_toxic_ones_and_the_rest_of_an_insult_is_harmless():
    rows = [LabelledText(f"you idiot number {n}", "toxic", "x") for n in range(6)]
    rows += [LabelledText("You fool, go home now please", "toxic", "x", rest="You , go home now please")]
    rows += [LabelledText("a calm river", "harmless", "x"), LabelledText("a calm sea", "harmless", "x")]
    rows += [LabelledText("kill the process", "harmless", "documentation")]
    lines = training_lines(rows, TOXICITY)
    assert sum(line.startswith("__label__toxic ") for line in lines) == 7
    assert lines.count("__label__harmless a calm river") == 4  # 7 toxic, 2 harmless: 3.5, rounded to even
    assert lines.count("__label__harmless kill the process") == 1
    assert lines.count("__label__harmless you go home now please") == 1


def test_few_texts_are_read_more_often():
    assert effort(MIN_LINES) == {"epoch": 5, "lr": 0.1}
    assert effort(2000) == {"epoch": 50, "lr": 0.2}
    assert effort(5000)["epoch"] == 20
    assert effort(20)["epoch"] == 400


def test_training_needs_two_labels_with_enough_texts(tmp_path):
    rows = [LabelledText(f"word {n}", "harmless", "toy") for n in range(20)]
    with pytest.raises(ValueError, match="found 0 toxic texts to train on; a classifier needs 10"):
        train_classifier(rows, tmp_path / "model.ftz", TOXICITY)
    with pytest.raises(ValueError, match="found the labels harmless; a classifier tells at least two apart"):
        train_classifier(rows, tmp_path / "model.ftz", TOPIC)
    rows.append(LabelledText("one", "law", "toy"))
    with pytest.raises(ValueError, match="found 1 law texts to train on"):
        train_classifier(rows, tmp_path / "model.ftz", TOPIC)
