import gzip
import json
from pathlib import Path

import pytest

from gristmill.align.config import ExampleRows, JsonlRows
from gristmill.align.data import read_conversations, read_pairs


def write(path: Path, *rows: object) -> JsonlRows:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return JsonlRows(path=path, held_out=0.5)


def alpaca(number: int) -> dict[str, str]:
    return {"instruction": f"Say {number}", "input": "", "output": str(number)}


def test_alpaca_fields_become_a_question_with_its_input_and_an_answer(tmp_path: Path):
    rows = [{"instruction": "Add", "input": f"1 + {n}", "output": str(n + 1)} for n in range(20)]
    read = read_conversations(write(tmp_path / "a.jsonl", *rows), None)
    by_question = {row.messages[0]["content"]: row.messages[1] for row in [*read.train, *read.held_out]}
    assert by_question["Add\n\n1 + 2"] == {"role": "assistant", "content": "3"}
    assert len(by_question) == 20


def test_copies_of_a_row_are_all_held_out_or_all_train(tmp_path: Path):
    rows = [{**alpaca(n % 20), "id": n} for n in range(60)]
    read = read_conversations(write(tmp_path / "a.jsonl", *rows), None)
    train = {row.messages[1]["content"] for row in read.train}
    held_out = {row.messages[1]["content"] for row in read.held_out}
    assert not train & held_out
    assert len(train | held_out) == 20


def test_examples_come_with_their_own_held_out_rows(examples: Path):
    read = read_conversations(ExampleRows(), examples)
    assert [len(read.train), len(read.held_out)] == [8, 4]
    assert read.train[0].row_id == "sort"


def test_gzip_is_read_and_a_truncated_one_is_named(tmp_path: Path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress("".join(json.dumps(alpaca(n)) + "\n" for n in range(500)).encode())
    path.write_bytes(whole)
    assert len(read_conversations(JsonlRows(path=path), None).train) > 400
    path.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz: damaged gzip after line \d+"):
        read_conversations(JsonlRows(path=path), None)


def test_empty_answers_are_left_out_and_counted(tmp_path: Path):
    source = write(tmp_path / "a.jsonl", *[alpaca(n) for n in range(20)], {"instruction": "x", "output": " "})
    assert read_conversations(source, None).dropped == {"empty_answer": 1}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("{not json", r"a\.jsonl:2: expected a JSON object on one line"),
        ([1], r"a\.jsonl:2: expected a JSON object, found a list"),
        ({"text": "x"}, r"a\.jsonl:2: expected `messages`, or Alpaca's .* found the keys text"),
        ({"messages": [{"role": "bot", "content": "x"}]}, r"a\.jsonl:2: messages: expected a role out of system"),
        ({"messages": [{"role": "user", "content": "x"}]}, r"a\.jsonl:2: the last message is the user's"),
        ({"instruction": 3, "output": "x"}, r"a\.jsonl:2: instruction must be text, found a int"),
    ],
)
def test_a_row_that_is_no_conversation_is_named_by_file_and_line(tmp_path: Path, row: object, complaint: str):
    source = write(tmp_path / "a.jsonl", alpaca(1), row)
    with pytest.raises(ValueError, match=complaint):
        read_conversations(source, None)


def test_pairs_come_as_strings_as_alpaca_fields_or_as_messages(tmp_path: Path):
    rows = [
        {"prompt": "p", "chosen": "good", "rejected": "bad"},
        {"instruction": "p", "input": "", "output": "unused", "chosen": "good", "rejected": "bad"},
        {
            "prompt": [{"role": "user", "content": "p"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
    ]
    numbered = [json.loads(json.dumps(row).replace('"p"', f'"p{n}"')) for n in range(10) for row in rows]
    read = read_pairs(write(tmp_path / "a.jsonl", *numbered), None)
    pairs = [*read.train, *read.held_out]
    assert len(pairs) == 30
    assert {(pair.chosen["content"], pair.rejected["content"]) for pair in pairs} == {("good", "bad")}
    assert {pair.prompt[0]["content"] for pair in pairs} == {f"p{n}" for n in range(10)}


def test_a_pair_of_equal_answers_teaches_nothing_and_is_counted(tmp_path: Path):
    rows = [{"prompt": str(n), "chosen": "a", "rejected": "b"} for n in range(20)]
    source = write(tmp_path / "a.jsonl", *rows, {"prompt": "x", "chosen": "a", "rejected": "a"})
    assert read_pairs(source, None).dropped == {"equal_answers": 1}


def test_a_file_too_small_to_hold_anything_out_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match=r"a\.jsonl: . rows to train on and . held out"):
        read_conversations(write(tmp_path / "a.jsonl", alpaca(1)), None)
