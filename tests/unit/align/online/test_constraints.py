"""Instructions in the manner of IFEval: an answer that follows each, and one that does not."""

import gzip
import json
from pathlib import Path

import pytest

from gristmill.align.online.constraints import CHECKS, follows

CASES = [
    ("change_case:english_capital", {}, "ALL LOUD.", "Not loud."),
    ("change_case:english_lowercase", {}, "all quiet.", "Not quiet."),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "NOW or NEVER",
        "NOW or never",
    ),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Say hi. Hello!", "Hello! Say hi."),
    ("combination:two_responses", {}, "One.\n******\nTwo.", "One.\n******\nOne."),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [place]", "[name] there"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. Call me.", "Bye. Call me."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S One more.", "Bye.\nP.S. One."),
    ("detectable_format:constrained_response", {}, "My answer is yes.", "Yes."),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "a: 1"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Day", "num_sections": 2},
        "Day 1\nWalk\nDay 2\nRest",
        "Day 1\nWalk",
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two", "* one\n* two\n* three"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and two"),
    ("detectable_format:title", {}, "<<A poem>>\nRoses", "A poem\nRoses"),
    ("keywords:existence", {"keywords": ["Mill", "flour"]}, "A mill makes flour.", "A mill makes dust."),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "Concatenate them.", "The Cat sat."),
    ("keywords:frequency", {"keyword": "go", "relation": "at least", "frequency": 2}, "Go, go!", "Go!"),
    ("keywords:letter_frequency", {"letter": "e", "let_relation": "less than", "let_frequency": 2}, "Hem", "Eel"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "First.\n\nThen rest.",
        "Then rest.\n\nFirst.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One\n***\nTwo", "One\n***\nTwo\n***\nThree"),
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 3}, "One. Two!", "A. B? C."),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "one two three", "one two"),
    ("language:response_language", {"language": "de"}, "Das ist ein einfacher deutscher Satz.", "A simple sentence."),
    ("punctuation:no_comma", {}, "Yes and no", "Yes, no"),
    ("startend:end_checker", {"end_phrase": "Bye."}, "That is all. bye.", "Bye. That is all."),
    ("startend:quotation", {}, '"Quoted."', 'Half "quoted"'),
]


@pytest.mark.parametrize(("instruction", "arguments", "good", "bad"), CASES)
def test_an_instruction_tells_apart(instruction: str, arguments: dict, good: str, bad: str):
    assert follows(good, instruction, arguments)
    assert not follows(bad, instruction, arguments)


def test_every_check_has_a_case():
    assert {instruction for instruction, *_ in CASES} == set(CHECKS)


def test_an_empty_answer_follows_nothing():
    assert not follows("  ", "punctuation:no_comma", {})


def test_an_unknown_instruction_is_named():
    with pytest.raises(ValueError, match="unknown instruction 'length:haiku'"):
        follows("a", "length:haiku", {})


@pytest.mark.data
def test_every_instruction_of_ifeval_can_be_checked(shared_data: Path):
    with gzip.open(shared_data / "rl/ifeval_half.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            assert follows("Some text.", name, arguments) in (True, False)
