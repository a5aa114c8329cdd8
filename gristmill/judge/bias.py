"""What a judge is worth: does it favour a place, length or its own model, and is it taken in by wrong answers?

Every contest is shown in both orders (Zheng et al. 2023, arXiv:2306.05685, name the three biases). Three kinds:
`people`: two answers that people compared. `padded`: an answer against the same with idle sentences behind it, where
only length differs. `planted`: an answer known to be good against a copy that a plausible error was planted in
(gristmill.review.planted), which people too are tested with.

Intervals are exact (Clopper and Pearson 1934) at 99 %, and tests are at 1 %. So a judge that fails no more often than
TOLERATED_FAILURES, has no preference and is right as often as LEAST_CAUGHT and LEAST_AGREED ask gets any of the six
findings by chance in at most one of twenty measurements, if attempts and pairs are independent: half a percent for each
end of an interval that is asked (three for failures, two for places, one each for length, wrong answers and people) and
one percent for Fisher's test. How often a worse judge is found out depends on the number of pairs (docs/judge.md).
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gristmill.judge.people import PeoplePair, Reference
from gristmill.judge.questions import Judge
from gristmill.judge.templates import COMPARE
from gristmill.judge.verdicts import Compared, Contest, compare
from gristmill.review.planted import spoiled

CONFIDENCE = 0.99
TOLERATED_FAILURES = 0.05
LEAST_CAUGHT = 0.75
LEAST_AGREED = 0.6  # people disagree with each other, too
PADDING = (
    " I hope that this answers your question. If there is anything else that you would like to know about it, please "
    "do not hesitate to ask, and I will be glad to go into it. Thank you for asking."
)


@dataclass(frozen=True)
class Share:
    """`count` of `of`, with its 99 % interval; share and interval None of nothing."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.of:
            return None
        from scipy.stats import binomtest

        found = binomtest(self.count, self.of).proportion_ci(confidence_level=CONFIDENCE, method="exact")
        return float(found.low), float(found.high)

    @property
    def low(self) -> float:
        return self.interval[0] if self.interval else 0.0

    @property
    def high(self) -> float:
        return self.interval[1] if self.interval else 1.0

    def is_poor(self, least: float) -> bool | None:
        """True: shown to be below `least`. False: shown to be better than chance (half). None: too few to tell."""
        return True if self.high < least else False if self.low > 0.5 else None

    def __str__(self) -> str:
        if not self.of:
            return "0 of 0"
        percents = f"{100 * self.count / self.of:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}]"
        return f"{self.count} of {self.of} ({percents})"

    def dump(self) -> dict[str, Any]:
        return {**asdict(self), "share": self.share, "interval": self.interval}


@dataclass(frozen=True)
class Finding:
    """One trait of a judge. found: None where there was too little to say."""

    trait: str
    found: bool | None
    shares: dict[str, Share]
    sentence: str


def measure(
    judge: Judge,
    pairs: Sequence[PeoplePair],
    references: Sequence[Reference],
    *,
    own_model: str | None = None,
    criterion: str,
    max_tokens: int,
    seed: int = 0,
) -> list[Finding]:
    """Ask about all pairs and references. Failures of the judge are part of what is measured, so they raise nothing.

    own_model: the judge's own name among the authors of `pairs`.
    """
    contests = _contests(pairs, references, seed)
    everything = [contest for each in contests.values() for contest in each]
    answered = compare(judge, everything, criterion=criterion, max_tokens=max_tokens, tolerant=True)
    found: dict[str, list[Compared]] = {}
    for kind, each in contests.items():
        found[kind], answered = answered[: len(each)], answered[len(each) :]
    return [
        _failures([one for each in found.values() for one in each], judge.counts),
        _position([one for each in found.values() for one in each]),
        _length(found["padded"]),
        _wrong_answers(found["planted"]),
        _people(found["people"]),
        _own_model(found["people"], pairs, own_model),
    ]


def report(judge: Judge, findings: Sequence[Finding]) -> dict[str, Any]:
    """JSON-able."""
    return {
        "judge": judge.respondent.name,
        "template": f"{COMPARE.name} {COMPARE.identity}",
        "confidence": CONFIDENCE,
        "asked": dict(sorted(judge.counts.items())),
        "findings": [
            {**asdict(each), "shares": {name: share.dump() for name, share in each.shares.items()}} for each in findings
        ],
    }


def _contests(pairs: Sequence[PeoplePair], references: Sequence[Reference], seed: int) -> dict[str, list[Contest]]:
    """`first` is what people preferred, the answer without padding, the good answer."""
    draw = random.Random(seed)
    answers = [each.answer for each in references]
    return {
        "people": [Contest(each.prompt, each.chosen, each.rejected) for each in pairs],
        "padded": [Contest(each.prompt, each.answer, each.answer + PADDING) for each in references],
        "planted": [
            Contest(each.prompt, each.answer, spoiled(each.answer, foreign=answers, draw=draw.getrandbits(32))[1])
            for each in references
        ],
    }


def _failures(answered: Sequence[Compared], counts: Counter[str]) -> Finding:
    replies = [reply for each in answered for reply in each.replies]
    choices = [choice for each in answered for choice in each.choices]
    attempts = Share(counts["failed_attempts"], counts["attempts"])
    unreadable = Share(
        sum(reply.text is not None and choice is None for reply, choice in zip(replies, choices, strict=True)),
        sum(reply.text is not None for reply in replies),
    )
    silent = Share(sum(reply.text is None for reply in replies), len(replies))
    found = max(attempts.low, unreadable.low, silent.low) > TOLERATED_FAILURES
    verdict = "It fails too often." if found else "That is no problem."
    return Finding(
        "failures",
        found,
        {"attempts_failed": attempts, "replies_unreadable": unreadable, "questions_without_reply": silent},
        f"Failures: {attempts} attempts failed, {unreadable} replies had no readable verdict, and {silent} questions "
        f"got no reply at all. {verdict}",
    )


def _position(answered: Sequence[Compared]) -> Finding:
    places = [each.choices[0] for each in answered if each.outcome == "order_flipped"]
    first, flipped = Share(places.count("A"), len(places)), Share(len(places), _readable(answered))
    found = None if not flipped.of else first.low > 0.5 or first.high < 0.5
    verdict = (
        "Nothing can be said." if found is None else "No preference for a place is shown." if not found
        else f"It prefers the {'first' if first.low > 0.5 else 'second'} answer, whichever that is."
    )  # fmt: skip
    return Finding(
        "position",
        found,
        {"flipped": flipped, "first_of_flipped": first},
        f"Position: {flipped} pairs got a verdict for a place, the same in both orders; of these the first place won "
        f"{first}. {verdict}",
    )


def _length(padded: Sequence[Compared]) -> Finding:
    outcomes = Counter(each.outcome for each in padded)
    longer = Share(outcomes["second"], outcomes["first"] + outcomes["second"])
    found = None if not padded else longer.low > 0.5
    verdict = (
        "Nothing can be said." if found is None else "It prefers longer answers." if found
        else "No preference for length is shown."
    )  # fmt: skip
    return Finding(
        "length",
        found,
        {"longer": longer},
        "Length: where idle sentences were the only difference, and the verdict held in both orders, the longer answer "
        f"won {longer}; {outcomes['tie']} were ties. {verdict}",
    )


def _wrong_answers(planted: Sequence[Compared]) -> Finding:
    outcomes = Counter(each.outcome for each in planted)
    caught = Share(outcomes["first"], _readable(planted))
    found = caught.is_poor(LEAST_CAUGHT)
    verdict = (
        "Too few pairs to tell." if found is None else "It is taken in by plausible wrong answers." if found
        else "It tells them apart."
    )  # fmt: skip
    return Finding(
        "wrong_answers",
        found,
        {"caught": caught},
        f"Wrong answers: it preferred a good answer to a copy with a planted error in {caught} pairs; the wrong one "
        f"won {outcomes['second']}. {verdict}",
    )


def _people(answered: Sequence[Compared]) -> Finding:
    preferred = [each.preferred for each in answered if each.preferred is not None]
    agreed = Share(preferred.count(0), len(preferred))
    undecided = sum(each.outcome in ("tie", "half_tie", "order_flipped") for each in answered)
    found = agreed.is_poor(LEAST_AGREED)
    verdict = (
        "Too few pairs to tell." if found is None else "That is near chance, or worse." if found
        else "That is better than chance."
    )  # fmt: skip
    return Finding(
        "people",
        found,
        {"agreed": agreed},
        f"People: where its verdict held in both orders, it agreed with people in {agreed} pairs; {undecided} more "
        f"were ties or did not hold. {verdict}",
    )


def _own_model(answered: Sequence[Compared], pairs: Sequence[PeoplePair], own: str | None) -> Finding:
    """Whether it errs in favour of its own model more often than against it: how good that model is does not matter."""
    taken = {True: Counter[bool](), False: Counter[bool]()}
    for each, pair in zip(answered, pairs, strict=True):
        if pair.models and each.preferred is not None and (pair.models[0] == own) != (pair.models[1] == own):
            people_took_own = pair.models[0] == own
            taken[people_took_own][(each.preferred == 0) == people_took_own] += 1
    for_own = Share(taken[False][True], taken[False].total())
    against = Share(taken[True][False], taken[True].total())
    found = None
    if for_own.of and against.of:
        from scipy.stats import fisher_exact

        table = [[for_own.count, for_own.of - for_own.count], [against.count, against.of - against.count]]
        tested: Any = fisher_exact(table, alternative="greater")
        found = bool(tested.pvalue < 1 - CONFIDENCE)
    verdict = (
        "Nothing can be said." if found is None else "It favours its own model." if found
        else "No preference for its own model is shown."
    )  # fmt: skip
    return Finding(
        "own_model",
        found,
        {"for_own": for_own, "against_own": against},
        f"Own model: it took {own or 'its own model'}'s answer in {for_own} pairs where people preferred the other "
        f"one, and the other one in {against} where people preferred {own or 'its own model'}'s. {verdict}",
    )


def _readable(answered: Sequence[Compared]) -> int:
    """Pairs with a readable verdict in both orders."""
    return sum(each.outcome not in ("unreadable", "unanswered") for each in answered)
