from pathlib import Path

import pytest
from tiny_chat_model import answer, question

from gristmill.evaluate.generation import decode
from gristmill.evaluate.sampling_config import Sampling
from gristmill.serve.chat import ChatModel, TerminalText


@pytest.fixture(scope="module")
def chat(tiny_model: Path) -> ChatModel:
    return ChatModel(tiny_model, device="cpu", threads=1)


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(chat: ChatModel):
    first, again, other = (
        "".join(chat.reply([question("sort")], max_new_tokens=20, sampling=Sampling(temperature=1.0), seed=seed))
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_an_answer_ends_before_a_stop_string(chat: ChatModel):
    whole = "".join(chat.reply([question("sort")], max_new_tokens=20))
    stop = whole[3:6]
    cut = "".join(chat.reply([question("sort")], max_new_tokens=20, stop=[stop]))
    assert "\ufffd" not in stop
    assert cut == whole[: whole.index(stop)]


def test_old_turns_are_forgotten_when_the_conversation_outgrows_the_context(chat: ChatModel):
    long = [turn for _ in range(10) for turn in (question("sort"), answer("Return it."))]
    assert list(chat.reply([*long, question("join")], max_new_tokens=4))


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "In French."}]])
def test_what_the_system_says_is_never_forgotten_and_a_user_begins(
    chat: ChatModel, system: list, monkeypatch: pytest.MonkeyPatch
):
    read: list[str] = []

    def remembered(model, prompts, **settings):
        read.extend(str(chat.tokenizer.decode(ids)) for ids in prompts)
        return decode(model, prompts, **settings)

    monkeypatch.setattr("gristmill.serve.chat.decode", remembered)
    turns = [turn for name in "abcdefgh" for turn in (question(name), answer(f"Answer {name}."))]
    list(chat.reply([*system, *turns, question("last")], max_new_tokens=4))
    (prompt,) = read
    kept = [line.split("<|im_start|>")[1] for line in prompt.splitlines() if "<|im_start|>" in line]
    assert kept[: len(system) + 1] == ["system"] * len(system) + ["user"]
    assert prompt.count("In French.") == len(system)
    assert "last" in prompt
    assert "What does `a` do?" not in prompt


def test_a_message_longer_than_the_context_is_refused_with_the_numbers(chat: ChatModel):
    with pytest.raises(ValueError, match="the model's context leaves room for 124"):
        list(chat.reply([{"role": "user", "content": "x" * 500}], max_new_tokens=4))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("a\x1b[31mred\x1b[0m b", "ared b"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x9b2Jb", "ab"),
        ("over\rwrite\x08\x00", "overwrite"),
        ("a\u202eb", "ab"),
        ("a\x1bcb", "ab"),
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
    ],
)
def test_nothing_that_steers_a_terminal_is_printed_however_it_is_cut(text: str, shown: str):
    for cut in range(len(text) + 1):
        stream = TerminalText()
        assert stream.feed(text[:cut]) + stream.feed(text[cut:]) == shown
    stream = TerminalText()
    assert "".join(stream.feed(character) for character in text) == shown


def test_a_sequence_that_never_ends_does_not_swallow_the_answer():
    stream = TerminalText()
    assert "the answer" in stream.feed("\x1b]0;" + "x" * 300 + "the answer")
