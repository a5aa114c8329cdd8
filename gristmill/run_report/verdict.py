"""What a run came to: one line, the gate's rules, and the paired differences behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

AGAINST = {
    "better_than_champion": "the champion",
    "not_worse_than_champion": "the champion",
    "better_than_baseline": "the better baseline",
}


Mood = Literal["good", "bad", "neither"]


@dataclass(frozen=True)
class Compared:
    """A difference on the same items with its 95 % interval."""

    name: str
    against: str
    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Verdict:
    """`mood` says how to look at it: good news, bad news, or neither."""

    mood: Mood
    title: str
    says: str
    rules: list[dict[str, Any]]
    """The gate's, as promotion.json has them; empty where no gate was reached."""
    compared: list[Compared]
    """The one that decides first."""


def verdict_of(run: Mapping[str, Any], promotion: Mapping[str, Any] | None, scores: Mapping[str, float]) -> Verdict:
    """promotion: what the stage `promote` recorded, if it was reached. scores: those of the last evaluated model."""
    rules = list(promotion["rules"]) if promotion else []
    compared = sorted(_of_rules(rules), key=lambda each: each.against != "the champion") or _of_scores(scores)
    if run.get("error"):
        at = (run.get("stopped") or {}).get("stage")
        title = "Interrupted" if run["error"] == "interrupted" else f"Failed in {at}" if at else "Failed"
        return Verdict("bad", title, run["error"], rules, compared)
    if promotion is None:
        says = f"The flow {run['flow']} ends before the gate, so no model was judged."
        return Verdict("neither", "Finished", says, rules, compared)
    model = f"{promotion['model']} version {promotion['version']}"
    passed = f"{sum(rule['passed'] for rule in rules)} of {len(rules)} rules pass"
    over = " The one before it is now previous." if promotion["over"] else " There was none before it."
    outcomes: dict[str, tuple[Mood, str, str]] = {
        "promoted": ("good", f"Promoted: {model} is champion", f"{passed}, so the alias champion moved.{over}"),
        "failed": ("bad", f"Not promoted: {model}", f"{passed}, and all must. No alias moved."),
        "awaiting approval": ("neither", f"Waiting for approval: {model}", f"{passed}. A person has to approve it."),
        "rolled back": ("neither", f"Not promoted: {model}", f"{passed}, but a person rolled this version back."),
    }
    mood, title, says = outcomes[promotion["state"]]
    if any(stage["stage"] == "promote" and stage["state"] == "reused" for stage in run["stages"]):
        says += " That was decided by an earlier run, which this one repeats."
    return Verdict(mood, title, says, rules, compared)


def _of_rules(rules: list[dict[str, Any]]) -> list[Compared]:
    return [
        Compared(rule["metric"], AGAINST[rule["rule"]], rule["found"], rule["low"], rule["high"], rule["n"])
        for rule in rules
        if rule["rule"] in AGAINST and "low" in rule
    ]


def _of_scores(scores: Mapping[str, float]) -> list[Compared]:
    """Differences to the parent that an evaluation recorded."""
    found = []
    for name, value in scores.items():
        benchmark, _, _ = name.partition("_accuracy_minus_parent")
        low, high, n = scores.get(f"{name}_ci_low"), scores.get(f"{name}_ci_high"), scores.get(f"{benchmark}_n")
        if name.endswith("_accuracy_minus_parent") and low is not None and high is not None and n is not None:
            found.append(Compared(name, "the model it was made from", value, low, high, int(n)))
    return found
