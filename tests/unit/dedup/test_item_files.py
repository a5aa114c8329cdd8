"""Benchmark files in the shapes they come in, read as items."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gristmill.dedup.decontaminate_config import ItemFile
from gristmill.dedup.item_files import Item, read_items


@pytest.fixture
def read(tmp_path: Path):
    def read(*rows: dict[str, Any], **settings: Any) -> list[Item]:
        path = tmp_path / "bench.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return list(read_items(ItemFile(path=path, **settings)))

    return read


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"text": "A page.", "summary": "Page."}, ["A page."]),
        ({"query": "Where?", "choices": ["Here.", "There."], "gold": 0}, ["Where?\nHere.", "Where?\nThere."]),
        ({"question": "Who?", "choices": ["I", "you"], "answer": 1}, ["Who?\nI", "Who?\nyou"]),
        ({"question": "Who?", "choices": {"text": ["I", "you"], "label": ["A", "B"]}}, ["Who?\nI", "Who?\nyou"]),
        ({"question": "2 and 2?", "answer": "It is 4."}, ["2 and 2?\nIt is 4."]),
        ({"context": "The sky is", "continuation": "blue"}, ["The sky is\nblue"]),
        ({"context": "A text.", "question": "A question?", "answers": {"text": ["a", "b"], "answer_start": [1, 2]}},
         ["A text.\nA question?\na", "A text.\nA question?\nb"]),
        ({"context_options": ["Ann saw Eve so Ann", "Ann saw Eve so Eve"], "continuation": "ran.", "gold": 1},
         ["Ann saw Eve so Ann ran.", "Ann saw Eve so Eve ran."]),
        ({"sentence_good": "He goes.", "sentence_bad": "He go.", "UID": "x", "field": "y"}, ["He goes.", "He go."]),
        ({"ID": "c", "Body": "Ann has 3.", "Question": "How many?", "Answer": 3.0, "Equation": "3"},
         ["Ann has 3.\nHow many?"]),
        ({"key": 7, "prompt": "Write.", "instruction_id_list": ["a:b"], "kwargs": [{}]}, ["Write."]),
        ({"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]}, ["Write.", "Again."]),
        ({"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"}]}, ["Hi.", "Yes?"]),
    ],
)  # fmt: skip
def test_usual_shapes_are_seen_from_the_names_of_their_fields(read, row, texts):
    (item,) = read(row)
    assert list(item.texts) == texts
    assert item.summary == row.get("summary", "")


def test_stated_fields_and_templates_make_the_texts(read):
    row = {"Body": "Ann has 3.", "Question": "How many?", "hints": ["one", "two"]}
    (item,) = read(row, fields=["Body", "{Body} {Question}", "Q: {Question} ({hints})"])
    assert item.texts == ("Ann has 3.", "Ann has 3. How many?", "Q: How many? (one)", "Q: How many? (two)")


def test_items_have_their_own_ids_where_these_differ_and_row_numbers_elsewhere(read):
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
    assert [item.key for item in read(*rows)] == ["bench:a", "bench:b"]
    repeated = [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]
    assert [item.key for item in read(*repeated)] == ["bench:1", "bench:2"]
    named = [{"slug": "p", "text": "x"}, {"slug": "q", "text": "y"}]
    assert [(item.item_id, item.row) for item in read(*named, id="slug", name="other")] == [("p", 1), ("q", 2)]
    with pytest.raises(ValueError, match=r"bench.jsonl: `id` is not an id of every row, or stands twice"):
        read(*repeated, id="id")


def test_a_blank_line_does_not_move_the_numbers_of_rows(tmp_path):
    path = tmp_path / "bench.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "x"}\n\n{"text": "y"}\n'))
    assert [item.key for item in read_items(ItemFile(path=path))] == ["bench:1", "bench:3"]


@pytest.mark.parametrize(
    ("rows", "settings", "complaint"),
    [
        ([{"text": "x"}, {"label": 3}], {}, r"bench.jsonl:2 is no benchmark item.*It has 'label'; state `fields`"),
        ([{"question": ""}], {}, r"bench.jsonl:1 is no benchmark item"),
        ([{"q": "x"}], {"fields": ["{q} {a}"]}, r"bench.jsonl:1: no field 'a', which `fields` names; the row has 'q'"),
        ([{"text": "x", "summary": 3}], {}, r"bench.jsonl:1: `summary` should be a text, found 3"),
    ],
)
def test_a_row_that_holds_no_text_where_it_should_is_named(read, rows, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        read(*rows, **settings)


def test_lines_that_are_no_objects_and_damaged_files_are_named(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text('{"text": "x"}\n[1]\n')
    with pytest.raises(ValueError, match=r"bench.jsonl:2: expected a JSON object, found a list"):
        list(read_items(ItemFile(path=path)))
    packed = tmp_path / "bench.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"text": "x"}\n' * 1000)[:-20])
    with pytest.raises(ValueError, match=r"bench.jsonl.gz: damaged gzip"):
        list(read_items(ItemFile(path=packed)))


@pytest.mark.data
def test_every_shared_benchmark_is_read_without_settings(shared_data):
    files = sorted([*(shared_data / "eval").glob("*.jsonl.gz"), *(shared_data / "rl").glob("*.jsonl.gz")])
    assert len(files) == 21
    for path in files:
        with gzip.open(path) as file:
            rows = sum(1 for _ in file)
        items = list(read_items(ItemFile(path=path)))
        assert len(items) == rows
        assert len({item.key for item in items}) == rows
        assert all(text.strip() for item in items for text in item.texts)
