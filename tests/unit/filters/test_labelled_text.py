import gzip
import json
import re
from pathlib import Path

import pytest

from gristmill.filters.classifier import TASKS
from gristmill.filters.labelled_text import LabelledText, read_labelled, read_unlabelled, split_held_out


def write(path: Path, rows: list[dict]) -> Path:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


def test_labels_of_many_shapes_are_read(tmp_path):
    rows = [
        {"text": "a", "label": "hate"},
        {"text": "b", "label": "Neither"},
        {"text": "c", "label": True},
        {"text": "d", "label": 0},
        {"text": "You fool, go home", "spans": [4, 5, 6, 7]},
        {"text": "f", "spans": []},
    ]
    found = list(read_labelled([write(tmp_path / "mixed.jsonl.gz", rows)], TASKS["toxicity"]))
    assert [row.label for row in found] == [
        "toxic",
        "harmless",
        "toxic",
        "harmless",
        "toxic",
    ]  # no position says nothing
    assert found[-1].rest == "You , go home"
    assert {row.source for row in found} == {"mixed"}


def test_a_pair_gives_two_texts_of_one_group(tmp_path):
    rows = [{"id": "7", "sentence_good": "So it is.", "sentence_bad": "So it are."}]
    good, bad = read_labelled([write(tmp_path / "pairs.jsonl.gz", rows)], TASKS["literacy"])
    assert (good.text, good.label, bad.text, bad.label) == ("So it is.", "corrected", "So it are.", "uncorrected")
    assert good.pair == bad.pair
    assert good.group == bad.group == "7"


def test_a_topic_is_a_label_without_blanks(tmp_path):
    rows = [{"text": "a", "topic": "civil  law"}, {"text": "b", "label": "sport"}]
    found = read_labelled([write(tmp_path / "topics.jsonl.gz", rows)], TASKS["topic"])
    assert [row.label for row in found] == ["civil-law", "sport"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "x", "label": "maybe"}', "label 'maybe' is unknown"),
        ('{"text": "x"}', "found text; expected text and a label"),
        ('{"label": true}', "found no text"),
        ('{"sentence_good": "x"}', "found no sentence_bad"),
        ("{", "expected a JSON object"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_file_and_line(tmp_path, line, said):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": false}\n' + line + "\n")
    with pytest.raises(ValueError, match=re.escape(f"rows.jsonl:2: {said}")):
        list(read_labelled([path], TASKS["toxicity"]))


def test_a_fifth_is_held_out_by_its_words_or_by_its_group():
    rows = [LabelledText(f"comment number {'x' * n}", "toxic", "toy") for n in range(1000)]
    assert 150 < sum(row.held_out for row in rows) < 250
    assert LabelledText("A  comment!", "toxic", "x").held_out == LabelledText("a comment", "toxic", "y").held_out
    groups = [{LabelledText(text, "hq", "x", group=str(n)).held_out for text in ("a", "b", "c")} for n in range(100)]
    assert all(len(sides) == 1 for sides in groups)
    assert {True} in groups
    assert {False} in groups


def test_no_text_is_trained_on_that_is_also_held_out_in_another_group():
    rows = [LabelledText("The same words.", "hq", "x", group=str(n)) for n in range(20)]
    training, held_out = split_held_out(rows)
    assert held_out
    assert training == []
    training, held_out = split_held_out(LabelledText(f"word {'y' * n}", "hq", "x", group=str(n)) for n in range(50))
    assert len(training) + len(held_out) == 50
    assert training


def test_texts_without_a_label_take_the_one_given_and_short_lines_are_left_out(tmp_path):
    (tmp_path / "book.txt").write_text("Chapter 1\n" + "word " * 20 + "\n")
    assert [row.label for row in read_unlabelled(tmp_path / "book.txt", "hq")] == ["hq"]
    rows = write(tmp_path / "pages.jsonl.gz", [{"text": "one", "id": 3}, {"text": "two"}])
    assert [row.group for row in read_unlabelled(rows, "cc")] == ["3", ""]
    with pytest.raises(ValueError, match=r"there is no file .*none\.txt"):
        list(read_unlabelled(tmp_path / "none.txt", "hq"))
