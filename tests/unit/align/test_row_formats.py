import pytest

from gristmill.align.formats import conversation, labelled, pair

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello."}
WORSE = {"role": "assistant", "content": "Go away."}
HUMAN = {"from": "human", "value": "Hi"}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"instruction": "Hi", "input": "", "output": "Hello."}, "alpaca"),
        ({"instruction": "Hi", "output": "Hello."}, "alpaca"),
        ({"instruction": "Hi", "input": "", "response": "Hello."}, "alpaca"),
        ({"messages": [USER, ANSWER]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, ANSWER]}, "messages"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": "Hello."}]}, "sharegpt"),
        ({"prompt": "Hi", "completion": "Hello."}, "prompt"),
        ({"prompt": [USER], "completion": [ANSWER]}, "prompt"),
    ],
)
def test_each_format_of_an_instruction_is_the_same_two_messages(row: dict, name: str):
    found = conversation(row, "a.jsonl:1")
    assert not isinstance(found, str)
    assert (found.format, found.messages) == (name, [USER, ANSWER])


def test_a_system_message_and_earlier_turns_stay():
    turns = [("system", "Be brief."), ("human", "Hi"), ("gpt", "Hello."), ("human", "Bye"), ("gpt", "Bye.")]
    found = conversation({"conversations": [{"from": who, "value": said} for who, said in turns]}, "a.jsonl:1")
    assert not isinstance(found, str)
    assert [message["role"] for message in found.messages] == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, {"role": "assistant", "content": " "}, USER, ANSWER]},
        {"prompt": [USER, {"role": "assistant", "content": ""}, USER], "completion": "Hello."},
        {"messages": [USER, ANSWER, USER, {"role": "assistant", "content": ""}]},
    ],
)
def test_a_conversation_with_an_empty_answer_anywhere_is_left_out(row: dict):
    """Every answer is learned, so an empty one would teach to end a turn at once."""
    assert conversation(row, "a.jsonl:1") == "empty_answer"


def test_an_empty_answer_before_the_one_that_is_preferred_is_a_prompt_like_another():
    start = [USER, {"role": "assistant", "content": ""}, USER]
    found = pair({"prompt": start, "chosen": "Hello.", "rejected": "Go away."}, "a.jsonl:1")
    assert not isinstance(found, str)
    assert found.prompt == start


def test_a_context_follows_the_instruction_as_an_input_does():
    """Dolly's fields."""
    row = {"instruction": "Who?", "context": "Ada wrote it.", "response": "Ada.", "category": "closed_qa"}
    found = conversation(row, "a.jsonl:1")
    assert not isinstance(found, str)
    assert found.prompt == [{"role": "user", "content": "Who?\n\nAda wrote it."}]
    assert found == conversation({"instruction": "Who?", "input": "Ada wrote it.", "output": "Ada."}, "a.jsonl:1")


@pytest.mark.parametrize("own", [[], [{"from": "system", "value": "Be kind."}]])
def test_a_system_text_beside_the_turns_stands_before_them(own: list[dict[str, str]]):
    turns = [*own, HUMAN, {"from": "gpt", "value": "Hello."}]
    row = {"system": "Be brief.", "conversations": turns}
    found = conversation(row, "a.jsonl:1")
    preferred = pair({**row, "conversations": turns[:-1], "chosen": "Hello.", "rejected": "Go away."}, "a.jsonl:1")
    assert not isinstance(found, str)
    assert not isinstance(preferred, str)
    system = {"role": "system", "content": "Be kind." if own else "Be brief."}
    assert found.messages == [*preferred.prompt, preferred.chosen] == [system, USER, ANSWER]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}, "prompt"),
        ({"prompt": [USER], "chosen": [ANSWER], "rejected": [WORSE]}, "prompt"),
        ({"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, WORSE], "messages": [USER, ANSWER]}, "prompt"),
        ({"instruction": "Hi", "input": "", "output": "-", "chosen": "Hello.", "rejected": "Go away."}, "alpaca"),
        (
            {
                "conversations": [HUMAN],
                "chosen": {"from": "gpt", "value": "Hello."},
                "rejected": {"from": "gpt", "value": "Go away."},
            },
            "sharegpt",
        ),
        ({"chosen": [USER, ANSWER], "rejected": [USER, WORSE]}, "conversation pair"),
        (
            {
                "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.",
                "rejected": "\n\nHuman: Hi\n\nAssistant: Go away.",
            },
            "hh-rlhf",
        ),
        ({"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "Hello.", "rejected": "Go away."}, "hh-rlhf"),
        ({"prompt": "\n\nHuman: Hi\n\nAssistant: ", "chosen": "Hello.", "rejected": "Go away."}, "hh-rlhf"),
    ],
)
def test_each_format_of_a_pair_is_the_same_prompt_and_answers(row: dict, name: str):
    found = pair(row, "a.jsonl:1")
    assert not isinstance(found, str)
    assert (found.format, found.prompt, found.chosen, found.rejected) == (name, [USER], ANSWER, WORSE)


def test_a_transcript_of_several_turns_shares_all_but_the_last_answer():
    start = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Tell me\n\nAssistant: "
    found = pair({"chosen": start + "Fine, so be it: yes.", "rejected": start + "No."}, "a.jsonl:1")
    assert not isinstance(found, str)
    assert [message["content"] for message in found.prompt] == ["Hi", "Hello.", "Tell me"]
    assert found.chosen["content"] == "Fine, so be it: yes."


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "\n\nHuman: A\n\nAssistant: x", "rejected": "\n\nHuman: B\n\nAssistant: y"}, "different_prompts"),
        (
            {
                "chosen": "\n\nHuman: A\n\nAssistant: x\n\nAssistant: y",
                "rejected": "\n\nHuman: A\n\nAssistant: x\n\nAssistant: z",
            },
            "out_of_turn",
        ),
        (
            {"prompt": "Hi", "chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, WORSE, USER, ANSWER]},
            "different_prompts",
        ),
        ({"prompt": "Hi", "chosen": "Same.", "rejected": "Same."}, "equal_answers"),
        ({"prompt": "Hi", "chosen": "Hello.", "rejected": " "}, "empty_answer"),
    ],
)
def test_a_pair_with_nothing_to_learn_from_is_the_reason_for_leaving_it_out(row: dict, reason: str):
    assert pair(row, "a.jsonl:1") == reason


def test_a_label_is_one_answer_and_a_pair_is_two():
    single = labelled({"prompt": "Hi", "completion": "Hello.", "label": True}, "a.jsonl:1")
    chat = labelled({"messages": [USER, WORSE], "kto_tag": 0}, "a.jsonl:2")
    two = labelled({"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}, "a.jsonl:3")
    assert not isinstance(single, str)
    assert not isinstance(chat, str)
    assert not isinstance(two, str)
    found = [(one.prompt, one.completion, one.desirable) for one in (*single, *chat, *two)]
    good, bad = ([USER], ANSWER, True), ([USER], WORSE, False)
    assert found == [good, bad, good, bad]


@pytest.mark.parametrize("label", [True, False, 1, 0, "true", "False"])
def test_a_label_is_ktos_where_it_says_true_or_false(label: bool | int | str):
    row = {"prompt": "Hi", "completion": "Hello.", "label": label}
    found = labelled(row, "a.jsonl:1")
    assert not isinstance(found, str)
    assert found[0].desirable == (label in (True, "true"))
    with pytest.raises(ValueError, match="found a KTO row"):
        conversation(row, "a.jsonl:1")


@pytest.mark.parametrize("label", ["cooking", 3, None, ["a"]])
def test_another_label_is_a_column_like_others(label: object):
    found = conversation({"prompt": "Hi", "completion": "Hello.", "label": label}, "a.jsonl:1")
    assert not isinstance(found, str)
    assert found.messages == [USER, ANSWER]
    with pytest.raises(ValueError, match=r"a\.jsonl:1: found label"):
        labelled({"prompt": "Hi", "completion": "Hello.", "label": label}, "a.jsonl:1")


@pytest.mark.parametrize(
    ("read", "row", "complaint"),
    [
        (conversation, {"text": "x"}, "a.jsonl:7: found the fields text; expected `messages`, `conversations`, Alpaca"),
        (
            conversation,
            {"messages": [{"role": "bot", "content": "x"}]},
            "a.jsonl:7: messages: found .*bot.*; expected a",
        ),
        (conversation, {"messages": [USER]}, "a.jsonl:7: the last message is the user's"),
        (conversation, {"conversations": "x"}, "a.jsonl:7: conversations: found 'x'; expected a list"),
        (conversation, {"conversations": [{"from": "bot", "value": "x"}]}, "ShareGPT's `from` out of system, human"),
        (conversation, {"instruction": 3, "output": "x"}, "a.jsonl:7: found a int in instruction, expected text"),
        (conversation, {"prompt": "x", "completion": "y", "label": False}, "a.jsonl:7: found a KTO row"),
        (pair, {"prompt": "x", "completion": "y"}, "a.jsonl:7: found the fields completion, prompt; expected a prefer"),
        (pair, {"chosen": "x", "rejected": "y"}, "a.jsonl:7: found `chosen` and `rejected` of one message each"),
        (pair, {"prompt": "x", "chosen": [USER, ANSWER], "rejected": "y"}, "a.jsonl:7: found a prompt, and 2 messages"),
        (
            pair,
            {"chosen": "\n\nHuman: a\n\nHuman: b", "rejected": "\n\nHuman: a\n\nAssistant: b"},
            "a.jsonl:7: chosen: the last message is the user's; expected the assistant's",
        ),
        (
            labelled,
            {"prompt": "x", "completion": "y"},
            "a.jsonl:7: found label None among the fields completion, promp",
        ),
        (labelled, {"prompt": "x", "completion": "y", "label": "good"}, "a.jsonl:7: found label 'good'"),
    ],
)
def test_a_row_of_no_format_says_where_it_stands_what_was_found_and_what_was_expected(read, row: dict, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        read(row, "a.jsonl:7")
