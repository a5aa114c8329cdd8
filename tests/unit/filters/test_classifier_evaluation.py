from typing import Any

import pytest
from scipy.stats import binomtest
from sklearn.metrics import classification_report, roc_auc_score

from gristmill.filters.classifier import TASKS
from gristmill.filters.classifier_card import Card
from gristmill.filters.classifier_evaluation import evaluate_scores, evaluate_topics
from gristmill.filters.labelled_text import LabelledText

TOXICITY, LITERACY = TASKS["toxicity"], TASKS["literacy"]


def test_scores_of_an_evaluation_agree_with_scikit_learn_and_hand_arithmetic():
    toxic, score = [True, True, True, False, False, False, False], [0.9, 0.6, 0.2, 0.6, 0.1, 0.5, 0.2]
    rows = [LabelledText(str(s), "toxic" if t else "harmless", "x") for t, s in zip(toxic, score, strict=True)]
    found = evaluate_scores(float, rows, TOXICITY, threshold=0.5)["x"]
    assert found["roc_auc"] == pytest.approx(roc_auc_score(toxic, score))
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(2 / 3)
    assert found["false_positive_rate"] == 1 / 4
    assert found["pairs_right"] is None


def pairs(right: int, wrong: int, *, sentences_a_document: int) -> list[LabelledText]:
    rows = []
    for number in range(right + wrong):
        scores = (
            {"corrected": "0.8", "uncorrected": "0.3"}
            if number < right
            else dict.fromkeys(("corrected", "uncorrected"), "0.5")
        )
        facts = {"pair": str(number), "group": str(number // sentences_a_document)}
        rows += [LabelledText(score, label, "pairs", **facts) for label, score in scores.items()]
    return rows


def test_a_tie_is_no_pair_right_and_the_interval_agrees_with_the_exact_one_for_independent_pairs():
    found = evaluate_scores(float, pairs(160, 40, sentences_a_document=1), LITERACY, threshold=0.5)["pairs"]
    assert (found["pairs"], found["pairs_right"]) == (200, 0.8)
    exact = binomtest(160, 200).proportion_ci(method="wilson")
    assert found["pairs_right_interval"] == pytest.approx([exact.low, exact.high], abs=0.02)


def test_sentences_of_one_document_do_not_count_as_independent():
    def width(sentences: int) -> float:
        rows = pairs(160, 40, sentences_a_document=sentences)
        low, high = evaluate_scores(float, rows, LITERACY, threshold=0.5)["pairs"]["pairs_right_interval"]
        return high - low

    assert width(20) > 2 * width(1)


def test_scores_of_topics_agree_with_scikit_learn():
    true = ["law", "law", "sport", "food", "food", "food"]
    called = ["law", "food", "law", "food", "food", "sport"]
    rows = [LabelledText(str(number), topic, "x") for number, topic in enumerate(true)]
    found = evaluate_topics(lambda text: (called[int(text)], 1.0), rows)
    other: Any = classification_report(true, called, output_dict=True)
    for topic in ("law", "sport", "food"):
        assert found[topic]["recall"] == pytest.approx(other[topic]["recall"])
        assert found[topic]["f1"] == pytest.approx(other[topic]["f1-score"])
    assert found["all held out"]["accuracy"] == 0.5
    assert found["all held out"]["largest_topic"] == 0.5
    assert found["all held out"]["f1"] == pytest.approx(other["macro avg"]["f1-score"])


def test_a_card_says_what_was_learned_and_measured(tmp_path):
    model = tmp_path / "toxicity.xx.ftz"
    model.write_bytes(b"weights")
    (tmp_path / "toy.jsonl").write_text("{}")
    rows = [LabelledText("0.9", "toxic", "toy"), LabelledText("0.1", "harmless", "toy")]
    scores = evaluate_scores(float, rows, TOXICITY, threshold=0.5)
    card = Card(TOXICITY, "xx", 0.5, scores, model, rows, [tmp_path / "toy.jsonl"], {"toy": "CC0-1.0"}).markdown()
    assert "sha256 `9b51b02b" in card or "7 bytes, sha256 `" in card
    assert "| toy | 1 toxic, 1 harmless | CC0-1.0 |" in card
    assert "| toy | 2 | 1 | 1.000 | 1.000 | 1.000 | 1.000 |" in card.replace(" (1.000–1.000)", "").replace(
        " (0.500–1.000)", ""
    )
    assert "never saw" in card


def test_the_card_of_a_language_without_labels_says_so_and_shows_what_a_word_list_finds():
    rows = [LabelledText("1", "toxic", "translated"), LabelledText("0", "harmless", "translated")]
    found = evaluate_scores(float, rows, TOXICITY, threshold=0.5)
    card = Card(TOXICITY, "uk", 0.5, {}, word_list=found, word_list_name="ldnoobw/ru", translated_from="ru").markdown()
    assert "no labels of toxicity by speakers of this language (`uk`)" in card
    assert "The labels were given to texts in `ru` and the texts then translated" in card
    assert "The word list ldnoobw/ru" in card
