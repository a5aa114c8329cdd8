import json
from collections import Counter
from pathlib import Path

import pytest
from small_review import candidate

from gristmill.review.candidates import read_candidates
from gristmill.review.planted import spoiled
from gristmill.review.queue import Candidate, ChatMessage, ShownAnswer, make_queue, read_queue, write_queue

MANY = [candidate(number) for number in range(100, 300)]


def test_the_seed_decides_order_and_planted_items_and_the_input_order_does_not():
    items, _ = make_queue(MANY, seed=3, planted=0.08)
    assert make_queue(MANY[::-1], seed=3, planted=0.08)[0] == items
    other, _ = make_queue(MANY, seed=4, planted=0.08)
    prompts = [[item.prompt[0].content for item in queue] for queue in (items, other)]
    assert sorted(prompts[0]) == sorted(prompts[1])
    assert prompts[0] != prompts[1]
    assert {item.prompt[0].content for item in items if item.planted} != {
        item.prompt[0].content for item in other if item.planted
    }


@pytest.mark.parametrize(("planted", "expected"), [(0.05, 10), (0.08, 16), (0.1, 20), (0, 0)])
def test_the_share_of_planted_errors_is_the_one_asked_for(planted: float, expected: int):
    items, _ = make_queue(MANY, seed=0, planted=planted)
    assert len(items) == 200
    spoiled_items = [item for item in items if item.planted]
    assert len(spoiled_items) == expected
    assert all(item.answers[0].text != item.answers[1].text for item in spoiled_items)


@pytest.mark.parametrize("planted", [0.04, 0.11, 1])
def test_other_shares_are_refused(planted: float):
    with pytest.raises(ValueError, match=f"planted={planted}"):
        make_queue(MANY, seed=0, planted=planted)


def test_planting_needs_answers_known_to_be_good():
    unknown = [Candidate(each.prompt, each.answers) for each in MANY]
    with pytest.raises(ValueError, match="needs 16 answers known to be good, and 0 prompts have one"):
        make_queue(unknown, seed=0, planted=0.08)


def test_equal_answers_and_copies_are_left_out_and_counted():
    same = Candidate([ChatMessage(role="user", content="Hi")], [ShownAnswer(model=m, text="Hello") for m in "ab"])
    items, dropped = make_queue([same, MANY[0], MANY[0], MANY[1]], seed=0, planted=0)
    assert (len(items), dropped) == (2, {"equal_answers": 1, "duplicate": 1})


def test_either_answer_stands_on_the_left_about_half_the_time_and_not_alike_for_two_reviewers():
    items, _ = make_queue(MANY, seed=0, planted=0)
    anna, boris = ([item.left_for(name) for item in items] for name in ("anna", "boris"))
    for left in (anna, boris):
        assert 72 <= sum(left) <= 128  # 100 ± 4 standard deviations of 200 fair coins
    assert 72 <= sum(a == b for a, b in zip(anna, boris, strict=True)) <= 128


def test_numbers_are_changed_digit_by_digit_and_the_words_stay():
    error, text = spoiled("In 1999 it was 70 %.", foreign=[], draw=0)
    assert error == "numbers_changed"
    assert text == "In 1990 it was 71 %."  # one more, the last digit alone, without a carry


def test_a_truncated_answer_is_its_first_half_of_words():
    assert spoiled("one two  three\nfour five six", foreign=[], draw=5) == ("truncated", "one two  three")


def test_every_draw_differs_from_the_good_answer_and_every_way_occurs():
    text = "The river is 205 km long and flows north."
    found = [spoiled(text, foreign=["It has 8 legs.", text], draw=draw) for draw in range(200)]
    assert text not in {spoilt for _, spoilt in found}
    assert min(Counter(error for error, _ in found).values()) > 50


def test_what_cannot_be_spoiled_is_named():
    with pytest.raises(ValueError, match="no error can be planted in 'Yes"):
        spoiled("Yes.", foreign=["Yes."], draw=0)


def test_a_queue_is_read_as_it_was_written_and_a_wrong_line_is_named(tmp_path: Path):
    path = tmp_path / "queue.jsonl"
    items, _ = make_queue(MANY[:30], seed=0, planted=0.1)
    write_queue(path, items)
    assert list(read_queue(path).values()) == items
    first, *rest = path.read_text().splitlines()
    row = json.loads(first)
    path.write_text("\n".join([*rest, json.dumps({**row, "answers": row["answers"][:1]})]))
    with pytest.raises(ValueError, match=r"queue\.jsonl:30: answers"):
        read_queue(path)
    path.write_text("\n".join([first, first]))
    with pytest.raises(ValueError, match=r"queue\.jsonl:2: a second item"):
        read_queue(path)


def test_prompts_come_as_text_chats_and_alpaca_fields(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [
        {"prompt": "Hi", "reference": "Hello"},
        {"messages": turns},
        {"instruction": "Hi", "input": "", "output": "Hello"},
        {"prompt": turns[:1], "answers": [{"model": "a", "text": "x"}, {"model": "b", "text": "y"}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_candidates(path)
    assert all(each.prompt == [ChatMessage(role="user", content="Hi")] for each in found)
    assert [each.reference for each in found] == ["Hello", "Hello", "Hello", None]
    assert [answer.text for answer in found[3].answers] == ["x", "y"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"question": "Hi"}, "found the keys question"),
        ({"prompt": "Hi", "answers": [{"model": "a", "text": "x"}]}, "1 answers"),
        ({"prompt": [{"role": "king", "content": "Hi"}]}, "0.role"),
        ({"prompt": []}, "expected a prompt"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, row: dict, complaint: str):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "Hi"}) + "\n" + json.dumps(row))
    with pytest.raises(ValueError, match=rf"prompts\.jsonl:2: .*{complaint}"):
        read_candidates(path)
