from pathlib import Path

import pytest
from small_review import real, says, write_review

from gristmill.review.agreement import alpha_with_interval, review_report, share
from gristmill.review.folder import LOG, read_review
from gristmill.review.log import Judgement, append

# Krippendorff 2011, section C: four observers, twelve units, nominal, with missing values; alpha .743
PUBLISHED = [
    [1, 1, 1],
    [2, 2, 3, 2],
    [3, 3, 3, 3],
    [3, 3, 3, 3],
    [2, 2, 2, 2],
    [1, 2, 3, 4],
    [4, 4, 4, 4],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [5, 5, 5],
    [1, 1],
    [3],
]


def test_alpha_is_that_of_the_published_example():
    found = alpha_with_interval([[str(vote) for vote in unit] for unit in PUBLISHED])
    assert found["alpha"] == pytest.approx(0.743, abs=5e-4)
    assert found["alpha_ci_low"] is not None
    assert found["alpha_ci_high"] is not None
    assert found["alpha_ci_low"] < 0.743 < found["alpha_ci_high"]


def test_alpha_of_two_observers_and_two_values_is_that_of_the_published_example():
    """Krippendorff 2011, section A: ten units, alpha .095."""
    one, other = "0100000010", "1110010000"
    assert alpha_with_interval(list(zip(one, other, strict=True)))["alpha"] == pytest.approx(0.095, abs=5e-4)


def test_alpha_is_not_made_up_where_chance_is_unknown():
    assert alpha_with_interval([["left", "left"], ["left", "left"]])["alpha"] is None
    assert alpha_with_interval([["left"], ["right"]])["alpha"] is None


def test_a_share_of_nothing_is_none_and_wilson_gives_the_interval():
    assert share(0, 0)["share"] is None
    found = share(8, 10)
    # (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964
    assert found["ci_low"] == pytest.approx(0.490162, abs=1e-5)
    assert found["ci_high"] == pytest.approx(0.943318, abs=1e-5)


def test_the_report_counts_caught_errors_sides_and_votes_by_reviewer(tmp_path: Path):
    items = write_review(tmp_path / "review", prompts=20)
    log = tmp_path / "review" / LOG
    planted = [item for item in items.values() if item.planted]
    assert len(planted) == 2
    for item in items.values():  # anna is right throughout, boris about one planted error of two and ten items
        append(log, says("anna", item, prefers=0))
    append(log, says("boris", planted[0], prefers=0))
    append(log, says("boris", planted[1], prefers=1))
    for number, item in enumerate(real(items)[:12]):
        append(log, says("boris", item, prefers=0 if number < 9 else 1))
    skipped = real(items)[12]
    append(log, Judgement(reviewer="boris", item=skipped.id, verdict="skip", left=0))

    found = review_report(read_review(tmp_path / "review"))
    assert (found["items"], found["planted"], found["judgements"]) == (20, 2, 35)
    assert found["preferred"] == {"a": 18 + 9, "b": 3}
    anna, boris = found["reviewers"]["anna"], found["reviewers"]["boris"]
    assert (anna["caught"]["count"], anna["caught"]["of"]) == (2, 2)
    assert (boris["caught"]["count"], boris["caught"]["of"]) == (1, 2)
    assert anna["left"]["count"] == sum(item.left_for("anna") == 0 for item in items.values())
    assert boris["left"]["of"] == 14
    agreed = found["agreement"]
    assert agreed["items"] == 12
    assert agreed["raw"] == 0.75
    # anna never says the second answer, so agreement is what chance gives
    assert agreed["cohen_kappa"] == {"anna, boris": pytest.approx(0.0)}


def test_a_tie_does_not_catch_a_planted_error_and_both_reviewers_may_stand_at_different_sides(folder: Path):
    review = read_review(folder)
    (planted,) = [item for item in review.items.values() if item.planted]
    append(folder / LOG, Judgement(reviewer="anna", item=planted.id, verdict="tie", left=0))
    found = review_report(read_review(folder))
    assert found["reviewers"]["anna"]["caught"]["share"] == 0
    one = real(review.items)[0]
    sides = {name: one.left_for(name) for name in ("anna", "boris", "clara", "dora")}
    for name in sides:
        append(folder / LOG, says(name, one, prefers=1))
    agreed = review_report(read_review(folder))["agreement"]
    assert len(set(sides.values())) == 2  # else this shows nothing
    assert (agreed["items"], agreed["raw"]) == (1, 1.0)
