import gzip
import json
import random
import re

import pytest
from sklearn.metrics import roc_auc_score

from gristmill.filters.config import MODELS
from gristmill.filters.labelled_text import LabelledText, read_labelled
from gristmill.filters.toxicity import PASSAGE_WORDS, ToxicityClassifier, normalized_words, split_passages
from gristmill.filters.toxicity_evaluation import evaluate_classifier
from gristmill.filters.toxicity_training import train_classifier
from gristmill.fingerprint import file_sha256

MODEL, CARD = MODELS / "toxicity.en.ftz", MODELS / "toxicity.en.card.md"


@pytest.fixture(scope="module")
def shipped() -> ToxicityClassifier:
    return ToxicityClassifier.load(MODEL)


def test_the_shipped_model_ranks_insults_above_harmless_sentences(shipped):
    insults = ["You are a stupid idiot and nobody likes you.", "shut the f*ck up you pathetic moron"]
    harmless = ["The weather was pleasant and we walked along the river.", "Thank you for your help with the article."]
    assert min(map(shipped.score, insults)) > 0.9 > 0.5 > max(map(shipped.score, harmless))


def test_documentation_about_killing_processes_is_harmless(shipped):
    page = """Terminate the worker processes of the pool. On POSIX this sends SIGKILL to each child; a parent that does
    not wait leaves zombies. Aborting a transaction kills the session and dumps the stack of the master and its slaves.
    The function returns True when the process was still alive, else False. See also: Process.kill, Process.join."""
    assert shipped.score(page) < 0.5


def test_the_score_of_a_page_is_the_mean_of_its_passages(shipped):
    harmless, toxic = " ".join(["river"] * PASSAGE_WORDS), " ".join(["idiot"] * PASSAGE_WORDS)
    scores = [shipped.score(harmless), shipped.score(toxic)]
    assert shipped.score(f"{harmless} {toxic}") == pytest.approx(sum(scores) / 2)


@pytest.mark.parametrize("text", ["", "\n \t", "!!! 123 …", "\x00\ud800\udfff", "__label__toxic", "a" * 100_000])
def test_hostile_texts_have_a_score_between_0_and_1(shipped, text):
    assert 0 <= shipped.score(text) <= 1


def test_passages_hold_all_words_in_equal_parts():
    text = " ".join(f"w{'x' * (n % 7)}" for n in range(2 * PASSAGE_WORDS + 1))
    passages = split_passages(text)
    assert " ".join(passages) == text
    assert [len(passage.split()) for passage in passages] == [33, 34, 34]


def test_words_are_folded_and_addresses_left_out():
    assert normalized_words("RT @bob: Don&#39;t see https://x.y/z?q 3 SH*T #tag") == ["don't", "see", "sh*t"]


def toy_rows(count: int) -> list[LabelledText]:
    rng = random.Random(1)
    common = ["the", "a", "of", "to", "and", "is", "was", "on", "in", "at"]
    words = {True: ["idiot", "moron", "stupid", "loser"], False: ["river", "garden", "music", "bread"]}
    labels = [number % 3 == 0 for number in range(count)]
    return [
        LabelledText(" ".join(rng.choices(common, k=6) + rng.choices(words[label], k=2)), label, "toy")
        for label in labels
    ]


def test_training_twice_gives_the_same_bytes_and_a_classifier_that_works(tmp_path):
    rows = toy_rows(300)
    for name in ("first.ftz", "second.ftz"):
        train_classifier(rows, tmp_path / name, seed=3, buckets=5000)
    assert (tmp_path / "first.ftz").read_bytes() == (tmp_path / "second.ftz").read_bytes()
    classifier = ToxicityClassifier.load(tmp_path / "first.ftz")
    assert classifier.score("a stupid loser is the moron") > classifier.score("the music in the garden")
    assert (tmp_path / "first.ftz").stat().st_size < 2_000_000


def test_training_needs_both_labels(tmp_path):
    with pytest.raises(ValueError, match="found 0 toxic texts"):
        train_classifier([LabelledText(f"word {n}", False, "toy") for n in range(20)], tmp_path / "model.ftz")


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "page.ftz").write_text("<html>")
    with pytest.raises(ValueError, match=r"page\.ftz is no fastText model"):
        ToxicityClassifier.load(tmp_path / "page.ftz")


def test_labels_of_many_shapes_are_read(tmp_path):
    rows = [
        {"text": "a", "label": "hate"},
        {"text": "b", "label": "Neither"},
        {"text": "c", "label": True},
        {"text": "d", "label": 0},
        {"text": "You fool, go home", "spans": [4, 5, 6, 7]},
        {"text": "f", "spans": []},
    ]
    path = tmp_path / "mixed.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found = list(read_labelled([path]))
    assert [row.toxic for row in found] == [True, False, True, False, True]  # no position says nothing
    assert found[-1].rest == "You , go home"
    assert {row.source for row in found} == {"mixed"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "x", "label": "maybe"}', "label 'maybe' is unknown"),
        ('{"text": "x"}', "found neither label nor spans"),
        ('{"label": true}', "found no text"),
        ("{", "expected a JSON object"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_file_and_line(tmp_path, line, said):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": false}\n' + line + "\n")
    with pytest.raises(ValueError, match=re.escape(f"rows.jsonl:2: {said}")):
        list(read_labelled([path]))


def test_a_fifth_is_held_out_by_its_words(tmp_path):
    rows = [LabelledText(f"comment number {'x' * n}", False, "toy") for n in range(1000)]
    assert 150 < sum(row.held_out for row in rows) < 250
    assert LabelledText("A  comment!", True, "x").held_out == LabelledText("a comment", False, "y").held_out


class FixedScores:
    def score(self, text: str) -> float:
        return float(text)


def test_scores_of_an_evaluation_agree_with_scikit_learn_and_hand_arithmetic():
    toxic, score = [True, True, True, False, False, False, False], [0.9, 0.6, 0.2, 0.6, 0.1, 0.5, 0.2]
    rows = [LabelledText(str(s), t, "x") for t, s in zip(toxic, score, strict=True)]
    found = evaluate_classifier(FixedScores(), rows, threshold=0.5)["x"]  # pyright: ignore[reportArgumentType]
    assert found["roc_auc"] == pytest.approx(roc_auc_score(toxic, score))
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(2 / 3)
    assert found["false_positive_rate"] == 1 / 4


def test_the_card_is_of_the_shipped_model_and_states_its_scores():
    card = CARD.read_text(encoding="utf-8")
    assert file_sha256(MODEL) in card
    for source in ("davidson", "toxic_spans_civilcomments", "wikipedia_comments", "documentation", "c4_sample"):
        assert re.search(rf"^\| {source} \|( [\d.,–]+ \|){{7}}$", card, re.MULTILINE), source
    assert all(word in card for word in ("MIT", "CC0", "Apache-2.0", "gristmill toxicity train"))
