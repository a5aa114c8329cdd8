from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from gristmill.evaluate.text_stream import TextStream

TEXT = "Return the sort. Ціна 5 €, 😀 ok. Question: why? Questions"


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    """Of 320 tokens, so letters beyond ASCII are several tokens each, and most words too."""
    return AutoTokenizer.from_pretrained(tiny_model)


def pieces(tokenizer: Any, stop: list[str], text: str = TEXT) -> tuple[list[str], TextStream]:
    stream, found = TextStream(tokenizer, stop), []
    for token in tokenizer.encode(text):
        found.append(stream.feed(token))
        if stream.stopped_by is not None:
            break
    return [*found, stream.rest()], stream


def test_pieces_are_whole_characters_and_together_the_text(tokenizer: Any):
    found, stream = pieces(tokenizer, [])
    assert "".join(found) == TEXT
    assert not [piece for piece in found if "\ufffd" in piece]
    assert len(tokenizer.encode("😀")) > 1
    assert [piece for piece in found if "😀" in piece] == ["😀"]
    assert stream.stopped_by is None


@pytest.mark.parametrize(
    "stop", [["why"], ["Question:"], ["Question: why"], ["€"], ["😀"], ["іна 5 €, 😀 o"], ["zzz", "sort.", "rt"]]
)
def test_text_ends_before_the_stop_string_that_is_whole_first(tokenizer: Any, stop: list[str]):
    found, stream = pieces(tokenizer, stop)
    _, place, first = min(
        (TEXT.index(string) + len(string), TEXT.index(string), string) for string in stop if string in TEXT
    )
    assert "".join(found) == TEXT[:place]
    assert stream.stopped_by == first


def test_what_only_begins_like_a_stop_string_is_shown_in_the_end(tokenizer: Any):
    found, stream = pieces(tokenizer, ["Questions!", "why? Question."])
    assert "".join(found) == TEXT
    assert stream.stopped_by is None


def test_nothing_is_held_back_that_can_be_no_stop_string(tokenizer: Any):
    found, _ = pieces(tokenizer, ["Question:"])
    assert "".join(found[: len(tokenizer.encode("Return the sort."))]) == "Return the sort."


def test_bytes_that_are_no_character_are_shown_once_it_is_certain(tokenizer: Any):
    stream = TextStream(tokenizer)
    lead, *_ = tokenizer.encode("é")  # the first of two bytes
    assert stream.feed(lead) == ""
    assert stream.feed(tokenizer.encode("a")[0]) == "\ufffda"
    assert stream.feed(lead) + stream.rest() == "\ufffd"


@pytest.mark.parametrize("stop", ["", "<|im_end|>"])
def test_a_stop_string_that_never_shows_in_text_is_refused(tokenizer: Any, stop: str):
    with pytest.raises(ValueError, match="never shows"):
        TextStream(tokenizer, [stop])
