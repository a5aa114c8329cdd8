"""A judge with a fault is found out, by that fault; a good one is not."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_judge import Asked, FakeJudge
from scipy.stats import binom

from gristmill.judge.bias import CONFIDENCE, LEAST_AGREED, LEAST_CAUGHT, PADDING, Finding, Share, measure, report
from gristmill.judge.config import EndpointJudge
from gristmill.judge.endpoint import Endpoint
from gristmill.judge.people import PeoplePair, Reference, read_people_pairs, read_references
from gristmill.judge.questions import Judge

# people prefer what begins with "Good"; the length of answers says nothing about it
DRAW = random.Random(0)
PAIRS = [
    PeoplePair(
        [{"role": "user", "content": f"Question {number}?"}],
        "Good" + " and so on" * DRAW.randint(1, 9),
        "Poor" + " and so on" * DRAW.randint(1, 9),
        ("mine", "theirs") if number % 2 else ("theirs", "mine"),
    )
    for number in range(30)
]
REFERENCES = [
    Reference([{"role": "user", "content": f"Sum {number}?"}], f"The sum of {number} and 3 is exactly {number + 3}.")
    for number in range(20)
]
TRUE = {f"user: {each.prompt[0]['content']}": each.answer for each in REFERENCES}


def worth(text: str, asked: Asked) -> float:
    return 2.0 * (text.startswith("Good") or text.removesuffix(PADDING) == TRUE.get(asked["conversation"]))


def judged(score: Callable[[str, Asked], float]) -> Callable[[Asked], str]:
    def answer(asked: Asked) -> str:
        first, second = score(asked["answer_A"], asked), score(asked["answer_B"], asked)
        return "Verdict: tie" if first == second else "Verdict: A" if first > second else "Verdict: B"

    return answer


def author(text: str, asked: Asked) -> bool:
    number = int(asked["conversation"].split()[-1].rstrip("?"))
    pair = PAIRS[number]
    assert pair.models
    return pair.models[0 if text == pair.chosen else 1] == "mine"


def favours_its_own(asked: Asked) -> str:
    if "Question" in asked["conversation"]:
        return "Verdict: A" if author(asked["answer_A"], asked) else "Verdict: B"
    return judged(worth)(asked)


# chances of being called good and bad, by how often a judge is right
OF_100_CAUGHT = {0.4: (0, 1), 0.5: (0, 0.99), 0.6: (0.24, 0.69), 0.7: (0.92, 0.05), 0.8: (1, 0)}
OF_100_AGREED = {0.4: (0, 0.91), 0.5: (0, 0.24), 0.6: (0.24, 0), 0.7: (0.92, 0), 0.8: (1, 0)}
HONEST = judged(worth)
JUDGES: dict[str, tuple[Callable[[Asked], str], set[str]]] = {
    "honest": (HONEST, set()),
    "always the first": (lambda asked: "Verdict: A", {"position", "wrong_answers"}),
    "always the second": (lambda asked: "Verdict: B", {"position", "wrong_answers"}),
    "prefers longer": (judged(lambda text, asked: len(text)), {"length", "wrong_answers"}),
    "good, and longer where alike": (judged(lambda text, asked: worth(text, asked) + len(text) / 1e6), {"length"}),
    "favours its own model": (favours_its_own, {"own_model"}),
    "prefers what people do not": (
        judged(lambda text, asked: worth(text, asked) * (-1 if "Question" in asked["conversation"] else 1)),
        {"people"},
    ),
    "taken in by wrong answers": (
        judged(lambda text, asked: worth(text, asked) * (1 if "Question" in asked["conversation"] else -1)),
        {"wrong_answers"},
    ),
}


def findings(answer: Callable[[Asked], str], tmp_path: Path, **settings) -> tuple[dict[str, Finding], Judge]:
    fault = settings.pop("fault", lambda number: "")
    with FakeJudge(answer, fault=fault) as fake:
        config = EndpointJudge(url=fake.url, model="fake", allow_private=True, first_wait_s=0.001, **settings)
        judge = Judge(Endpoint(config), tmp_path / "memory.jsonl")
        found = measure(judge, PAIRS, REFERENCES, own_model="mine", criterion="truth", max_tokens=64)
    return {each.trait: each for each in found}, judge


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_is_found_out_by_its_fault(name: str, tmp_path: Path):
    answer, faults = JUDGES[name]
    found, _ = findings(answer, tmp_path)
    assert {trait for trait, each in found.items() if each.found} == faults


def test_one_that_errs_in_a_fifth_is_not_called_bad_where_there_are_too_few_pairs_to_tell(tmp_path: Path):
    def careless(asked: Asked) -> str:
        said, number = HONEST(asked), int(asked["conversation"].split()[-1].rstrip("?"))
        return {"Verdict: A": "Verdict: B", "Verdict: B": "Verdict: A"}.get(said, said) if number % 5 == 0 else said

    with FakeJudge(careless) as fake:
        judge = Judge(Endpoint(EndpointJudge(url=fake.url, model="fake", allow_private=True)), tmp_path / "m.jsonl")
        found = measure(judge, PAIRS[:10], REFERENCES[:10], criterion="truth", max_tokens=64)
    by_trait = {each.trait: each for each in found}
    for trait, name in (("people", "agreed"), ("wrong_answers", "caught")):
        assert (by_trait[trait].shares[name].count, by_trait[trait].shares[name].of) == (8, 10)
        assert by_trait[trait].found is None
        assert by_trait[trait].sentence.endswith("Too few pairs to tell.")


@pytest.mark.parametrize("pairs", [3, 10, 100])
@pytest.mark.parametrize("least", [LEAST_CAUGHT, LEAST_AGREED])
def test_what_a_measurement_shows_by_chance_and_of_what_is_there(least: float, pairs: int):
    """The chances of being called good and bad, over all outcomes; docs/judge.md has those of 100 pairs."""
    counts = np.arange(pairs + 1)
    called = [Share(int(count), pairs).is_poor(least) for count in counts]

    def chances(right: float) -> tuple[float, float]:
        of_each = binom.pmf(counts, pairs, right)
        return tuple(of_each[[each is outcome for each in called]].sum() for outcome in (False, True))  # type: ignore[return-value]

    assert chances(least)[1] <= (1 - CONFIDENCE) / 2, "a good judge is called bad"
    assert chances(0.5)[0] <= (1 - CONFIDENCE) / 2, "a coin is called good"
    if pairs == 100:
        shown = {right: tuple(round(chance, 2) for chance in chances(right)) for right in (0.4, 0.5, 0.6, 0.7, 0.8)}
        assert shown == (OF_100_CAUGHT if least == LEAST_CAUGHT else OF_100_AGREED)


def test_the_sentences_have_the_numbers(tmp_path: Path):
    found, judge = findings(JUDGES["always the first"][0], tmp_path)
    assert found["position"].sentence == (
        "Position: 70 of 70 (100 % [93, 100]) pairs got a verdict for a place, the same in both orders; of these the "
        "first place won 70 of 70 (100 % [93, 100]). It prefers the first answer, whichever that is."
    )
    assert found["length"].sentence.endswith(
        "the longer answer won 0 of 0; 0 were ties. No preference for length is shown."
    )
    assert report(judge, list(found.values()))["findings"][1]["shares"]["flipped"]["count"] == 70


@pytest.mark.parametrize("tries", [1, 5])
def test_one_that_fails_a_third_of_the_time_is_found_out_whether_or_not_it_is_asked_again(tries: int, tmp_path: Path):
    found, judge = findings(HONEST, tmp_path, fault=lambda number: "500" if number % 3 == 0 else "", tries=tries)
    assert {trait for trait, each in found.items() if each.found} == {"failures"}
    failed = found["failures"].shares["attempts_failed"]
    assert failed.share == pytest.approx(1 / 3, abs=0.01)
    assert found["failures"].shares["questions_without_reply"].count == (judge.counts["failed"] if tries == 1 else 0)
    assert (judge.counts["failed"] > 0) == (tries == 1)


def test_one_whose_replies_cannot_be_read_a_third_of_the_time_is_found_out(tmp_path: Path):
    def mumbles(asked: Asked) -> str:
        return "Hard to say." if sum(asked.text.encode()) % 3 == 0 else HONEST(asked)

    found, _ = findings(mumbles, tmp_path)
    assert {trait for trait, each in found.items() if each.found} == {"failures"}
    assert found["failures"].shares["replies_unreadable"].share == pytest.approx(1 / 3, abs=0.12)


def test_a_poor_model_is_not_called_favoured_because_a_careless_judge_errs(tmp_path: Path):
    """People prefer the other model in 9 of 10, so a judge that errs in a fifth of all pairs errs towards its own."""
    draw = random.Random(1)
    errs = {pair.prompt[0]["content"]: draw.random() < 0.2 for pair in PAIRS}

    def careless(asked: Asked) -> str:
        said = HONEST(asked)
        question = asked["conversation"].removeprefix("user: ")
        return {"Verdict: A": "Verdict: B", "Verdict: B": "Verdict: A"}.get(said, said) if errs.get(question) else said

    pairs = [
        PeoplePair(
            pair.prompt, pair.chosen, pair.rejected, ("mine", "theirs") if number % 10 == 0 else ("theirs", "mine")
        )
        for number, pair in enumerate(PAIRS)
    ]
    with FakeJudge(careless) as fake:
        judge = Judge(Endpoint(EndpointJudge(url=fake.url, model="fake", allow_private=True)), tmp_path / "m.jsonl")
        found = measure(judge, pairs, [], own_model="mine", criterion="truth", max_tokens=64)
    own = {each.trait: each for each in found}["own_model"]
    assert own.shares["for_own"].count == sum(errs.values()) - own.shares["against_own"].count > 3
    assert own.found is False


def test_the_interval_is_exact():
    """Clopper and Pearson 1934: at either end, so few or so many have a chance of half a percent."""
    low, high = Share(10, 40).interval or (0, 0)
    assert binom.sf(9, 40, low) == pytest.approx(0.005)
    assert binom.cdf(10, 40, high) == pytest.approx(0.005)
    assert (Share(0, 40).low, Share(40, 40).high) == (0, 1)


def test_transcripts_are_cut_before_the_last_answer(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        r'{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Bye\n\nAssistant: Bye!",'
        r' "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Bye\n\nAssistant: No."}'
        "\n"
        '{"prompt": "Hi", "chosen": "a", "rejected": "a"}\n'
        r'{"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Ho\n\nAssistant: b"}'
        "\n"
        '{"prompt": "Hi", "chosen": "a", "rejected": "b", "chosen_model": "x", "rejected_model": "y"}\n'
    )
    (first, second), dropped = read_people_pairs(path)
    assert dropped == {"equal_answers": 1, "different_prompts": 1}
    assert first.prompt == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Bye"},
    ]
    assert (first.chosen, first.rejected, first.models) == ("Bye!", "No.", None)
    assert second.models == ("x", "y")


@pytest.mark.parametrize(
    "row",
    [
        '{"chosen": "a", "rejected": "b"}',
        '{"prompt": [{"role": "robot", "content": "x"}], "chosen": "a", "rejected": "b"}',
        r'{"chosen": "\n\nAssistant: a", "rejected": "\n\nAssistant: b"}',
    ],
)
def test_a_row_that_is_no_pair_is_refused_with_its_line(row: str, tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(ValueError, match=r"pairs\.jsonl:1: "):
        read_people_pairs(path)


def test_references_are_what_the_assistant_said(tmp_path: Path):
    path = tmp_path / "references.jsonl"
    path.write_text('{"instruction": "Add", "input": "1 and 2", "output": "3"}\n{"prompt": "no reference"}\n')
    assert read_references(path) == [Reference([{"role": "user", "content": "Add\n\n1 and 2"}], "3")]


@pytest.mark.data
def test_hh_rlhf_is_read_whole(shared_data: Path):
    pairs, dropped = read_people_pairs(shared_data / "preference" / "hh_harmless_base.jsonl.gz")
    assert len(pairs) + dropped.total() == 1264
    assert dropped["different_prompts"] < 60
    assert all(pair.prompt[-1]["role"] == "user" for pair in pairs)
