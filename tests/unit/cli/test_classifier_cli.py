import json
import random
from pathlib import Path

import pytest

from flows.cli.main import app


def run(*words: str | Path) -> int:
    """The command's exit code."""
    return app([str(word) for word in ("classifier", *words)], result_action="return_value")


@pytest.fixture
def labelled(tmp_path) -> Path:
    rng = random.Random(0)
    words = {"toxic": ["idiot", "moron", "loser"], "harmless": ["river", "garden", "bread"]}
    rows = [
        {
            "text": " ".join(rng.choices(["the", "a", "of", "is", "on"], k=5) + rng.choices(words[label], k=2)),
            "label": label,
        }
        for label in words
        for _ in range(60)
    ]
    path = tmp_path / "comments.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_train_writes_a_model_and_its_card_and_measures_both_with_a_word_list(labelled, tmp_path, capsys):
    model, card, words = tmp_path / "toxicity.en.ftz", tmp_path / "card.md", tmp_path / "words"
    words.write_text("idiot\n")
    files = ("--data", labelled, "--word-list", words, "--licenses", "comments=CC0-1.0")
    task = ("--task", "toxicity", "--language", "en")
    assert run("train", *task, *files, "--out", model, "--card", card, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema_version"] == 1
    assert report["sources"]["comments"]["recall"] > 0.8 > report["word_list"]["comments"]["recall"]
    assert report["sources"]["sentences naming groups"]["texts"] == 200
    text = card.read_text()
    assert report["sha256"] in text
    assert "CC0-1.0" in text
    assert "The word list" in text
    assert run("evaluate", *task, "--data", labelled, "--model", model) == 0
    measured = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| comments"))
    assert measured in text


def test_a_language_without_labels_has_a_card_that_says_so(labelled, tmp_path, capsys):
    words, card = tmp_path / "words", tmp_path / "card.md"
    words.write_text("idiot\n")
    files = ("--measure-on", labelled, "--word-list", words, "--translated-from", "en", "--card", card)
    assert run("evaluate", "--task", "toxicity", "--language", "xx", *files) == 0
    assert "There are no labels of toxicity by speakers of this language (`xx`)" in card.read_text()
    assert "| comments | 120 | 60 |" in capsys.readouterr().out


def test_nothing_to_measure_is_a_usage_error(labelled, capsys):
    assert run("evaluate", "--task", "toxicity", "--language", "en", "--data", labelled) == 2
    assert "name a --model or a --word-list" in capsys.readouterr().err


def test_topics_have_no_positive_side(labelled, tmp_path):
    with pytest.raises(ValueError, match="topic has no positive and negative texts; name labelled files in --data"):
        run("train", "--task", "topic", "--language", "en", "--positive", labelled, "--out", tmp_path / "x")


def test_a_licence_is_given_as_source_and_licence(labelled, tmp_path):
    words = ("--data", labelled, "--licenses", "CC0", "--out", tmp_path / "x.ftz")
    with pytest.raises(ValueError, match="--licenses 'CC0': expected SOURCE=LICENCE"):
        run("train", "--task", "toxicity", "--language", "en", *words)
