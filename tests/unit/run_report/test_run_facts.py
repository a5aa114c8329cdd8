"""What a report of a run says is what the records say: counts, curves, differences, costs, causes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import RIGHT, SmallRun, make_run, scored, verdict

from gristmill.ledger.account import run_costs
from gristmill.report import Report
from gristmill.run_report import curves
from gristmill.run_report.curves import Point, read_panels
from gristmill.run_report.facts import as_json, gather
from gristmill.run_report.lineage import tree
from gristmill.run_report.page import render
from gristmill.run_report.scores import Cell, side_by_side
from gristmill.run_report.verdict import verdict_of


def test_the_funnel_has_counts_reasons_and_the_share_of_all_pages(tmp_path: Path):
    made = make_run(tmp_path)
    facts = gather(made.store, made.run(), [])
    extract = next(stage for stage in facts.stages if stage.stage == "extract")
    assert (extract.rows_in, extract.rows_out, extract.share) == (10, 8, 0.8)
    assert extract.reasons == [("min_words", 2)]
    assert next(stage for stage in facts.stages if stage.stage == "ingest").share is None
    assert facts.noticed == [("extract", "texts with email masked", 3)]
    assert ("sources", "web") in facts.about
    assert ("git commit", "c0ffee") in facts.about


def test_the_share_of_a_later_night_is_of_the_pages_of_all_nights_behind_it(tmp_path: Path):
    made = SmallRun(tmp_path)

    def judged(label: str, inputs: dict[str, str | None], rows_in: int, rows_out: int) -> str:
        report = Report(rows_in=rows_in, rows_out=rows_out, unit="pages")
        return made.publish("documents", label, inputs, report=report, pages=rows_out)

    # of the first night a later run has what came out of it, of the second all
    first = judged("dedup[n0001]", {"night": None}, 10, 8)
    second = judged("filter[n0002]", {"documents": judged("extract[n0002]", {}, 40, 30)}, 30, 20)
    judged("corpus", {"n0001": first, "n0002": second}, 28, 25)
    shares = {stage.stage: stage.share for stage in gather(made.store, made.run(), []).stages}
    assert shares == {"dedup[n0001]": 0.8, "extract[n0002]": 0.75, "filter[n0002]": 0.5, "corpus": 25 / 50}


@pytest.mark.parametrize(
    ("state", "mood", "title"),
    [
        ("promoted", "good", "Promoted: miller version 7 is champion"),
        ("failed", "bad", "Not promoted: miller version 7"),
        ("awaiting approval", "neither", "Waiting for approval: miller version 7"),
        ("rolled back", "neither", "Not promoted: miller version 7"),
    ],
)
def test_the_verdict_is_the_gates(state: str, mood: str, title: str):
    found = verdict_of({"flow": "pipeline", "stages": []}, verdict(state == "promoted", state=state), {})
    assert (found.mood, found.title) == (mood, title)
    (compared,) = found.compared
    assert (compared.against, compared.estimate, compared.low, compared.high, compared.n) == (
        *("the champion", 0.25),
        *(-0.5, 0.75, 4),
    )


def test_a_run_that_reused_the_decision_says_so():
    run = {"flow": "pipeline", "stages": [{"stage": "promote", "state": "reused"}]}
    assert "decided by an earlier run" in verdict_of(run, verdict(passed=True), {}).says
    run["stages"][0]["state"] = "built"
    assert "earlier run" not in verdict_of(run, verdict(passed=True), {}).says


def test_a_run_without_a_gate_compares_with_the_parent():
    scores = {"q_accuracy_minus_parent": 0.1, "q_n": 40.0}
    scores |= {
        "q_accuracy_minus_parent_ci_low": 0.05,
        "q_accuracy_minus_parent_ci_high": 0.15,
        "bits_minus_parent": 1.0,
    }
    found = verdict_of({"flow": "pretrain"}, None, scores)
    assert (found.mood, found.title) == ("neither", "Finished")
    assert [(each.against, each.n, each.low) for each in found.compared] == [("the model it was made from", 40, 0.05)]


def test_a_failed_run_begins_with_its_cause_and_the_end_of_the_log(tmp_path: Path):
    made = make_run(tmp_path)
    draft = tmp_path / ".drafts" / "checkpoint.align-0123"
    draft.mkdir()
    (draft / "log.txt").write_text("".join(f"line {number}\n" for number in range(10_000)))
    (draft / "command.txt").write_text("python -m gristmill.align\n")
    stopped = {"stage": "align", "key": "checkpoint/align-0123"}
    facts = gather(made.store, made.run(error="align: the disk is full", stopped=stopped), [])
    assert (facts.verdict.mood, facts.verdict.title) == ("bad", "Failed in align")
    assert facts.failure
    assert facts.failure.cause == "align: the disk is full"
    assert facts.failure.command == "python -m gristmill.align"
    assert facts.failure.log.splitlines() == [f"line {number}" for number in range(9960, 10_000)]


def test_a_run_that_ended_before_its_first_stage_has_a_report(tmp_path: Path):
    facts = gather(SmallRun(tmp_path).store, SmallRun(tmp_path).run(error="interrupted"), [])
    assert facts.verdict.title == "Interrupted"
    assert (facts.stages, facts.lineage, facts.scores.models) == ([], None, [])


def test_curves_are_means_between_the_lowest_and_the_highest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(curves, "SHOWN_POINTS", 2)
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "loss": loss} for step, loss in enumerate((5.0, 3.0, "not finite", 2.0, 1.0), 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 6, "lo')
    (panel,) = read_panels("sft", path)
    (series,) = panel.series
    assert series.points == [Point(2, 4.0, 3.0, 5.0), Point(5, 1.5, 1.0, 2.0)]
    assert series.not_finite == 1


def test_validation_stands_beside_training_in_one_unit(tmp_path: Path):
    made = make_run(tmp_path)
    (panel,) = gather(made.store, made.run(), []).panels
    assert (panel.stage, panel.title) == ("pretrain", "bits per byte")
    assert [(each.name, [point.mean for point in each.points], each.not_finite) for each in panel.series] == [
        ("training", [4.0, 2.0], 1),
        ("validation", [2.5], 0),
    ]


def test_a_long_log_is_sampled_and_every_validation_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(curves, "READ_ROWS", 100)
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "train_bits_per_byte": 2.0, "at": "x" * 30}) for step in range(5000)]
    lines[1233] = json.dumps({"step": 1233, "bits_per_byte": 1.25})
    path.write_text("".join(f"{line}\n" for line in lines))
    assert len(list(curves._rows(path))) <= 110
    (panel,) = read_panels("pretrain", path)
    assert panel.series[1].points == [Point(1233, 1.25, 1.25, 1.25)]


def test_scores_have_intervals_and_say_what_is_not_finite(tmp_path: Path):
    made = make_run(tmp_path)
    scores = gather(made.store, made.run(), []).scores
    assert scores.models == ["align", "champion"]
    row = next(row for row in scores.rows if row.name == "q_accuracy")
    assert row.cells == [Cell(0.75, 0.1, 0.9), Cell(0.5, 0.1, 0.9)]
    assert [str(cell) for cell in row.cells] == ["0.7500 [0.1000, 0.9000]", "0.5000 [0.1000, 0.9000]"]
    assert scores.plots == [
        ("q_accuracy", [("align", row.cells[0]), ("champion", row.cells[1])], {"shortest answer": 0.25})
    ]
    lost = side_by_side({"a": ({"x": 1.0}, {}), "b": ({}, {"x": "not finite"})})
    assert lost.rows[0].cells == [Cell(1.0), "not finite"]


def test_a_toxicity_score_stands_beside_the_classifiers_known_error(tmp_path: Path):
    made = make_run(tmp_path)
    facts = gather(made.store, made.run(), [])
    assert "known error" not in render(facts)
    scores = side_by_side({"a": ({"rough_toxic_share": 0.25}, {"toxicity_known_error": "blames <7 %> of what is not"})})
    page = render(replace(facts, scores=scores))
    assert "rough_toxic_share" in page
    assert "known error: blames &lt;7 %&gt; of what is not." in page


def test_the_champion_is_compared_item_by_item(tmp_path: Path):
    made = make_run(tmp_path)
    (found,) = gather(made.store, made.run(), []).champion
    gained = set(RIGHT["align"]) - set(RIGHT["champion"])
    lost = set(RIGHT["champion"]) - set(RIGHT["align"])
    assert (found.only_first, found.only_second, found.n) == (len(gained), len(lost), 4)
    assert found.difference.estimate == (2 - 1) / 4
    assert found.difference.low < found.difference.estimate < found.difference.high


def test_a_champion_that_was_asked_otherwise_is_named_and_not_compared(tmp_path: Path):
    made = make_run(tmp_path)
    folder = made.store.file(made.records["evaluate[champion]"].address, "result.json")
    folder.chmod(0o644)
    folder.write_text(scored("ad", version=2).model_dump_json())
    facts = gather(made.store, made.run(), [])
    assert facts.champion == []
    assert [each.benchmark for each in facts.champion_refused] == ["q"]
    assert "is not compared" in render(facts)


def test_costs_are_time_price_and_the_last_energy(tmp_path: Path):
    made = make_run(tmp_path)
    made.stages[0] |= {"state": "reused", "seconds": 0.0}
    costs = {cost.stage: cost for cost in gather(made.store, made.run(), []).costs}
    assert (costs["ingest"].seconds, costs["ingest"].seconds_here) == (100.0, 0.0)
    assert costs["pretrain"].money == pytest.approx(7.2 * 100 / 3600)
    assert costs["pretrain"].energy_j == 7200.0
    assert costs["sft"].energy_j is None
    assert costs["sft"].cpu_seconds == 150.0


def test_what_was_spent_and_saved_is_what_gristmill_costs_says(tmp_path: Path):
    made = make_run(tmp_path)
    made.stages[0]["state"] = "reused"
    made.stages.append(made.stages[0] | {"stage": "ingest[again]"})
    made.stages.append(made.stages[1] | {"stage": "extract[again]", "state": "reused"})
    ledger = gather(made.store, made.run(), []).ledger
    assert ledger == run_costs(made.run())
    assert (ledger.spent.costs.seconds, ledger.saved.costs.seconds) == (800.0, 100.0)
    assert ledger.spent.money == pytest.approx(8 * 100 * 7.2 / 3600)


def test_settings_that_differ_from_the_last_good_run_of_the_same_kind(tmp_path: Path):
    old = make_run(tmp_path, name="night-20260101-030000").run()
    new = make_run(tmp_path, beta=0.2)
    broken = old | {"run": "night-20260101-040000", "error": "align: no"}
    other = old | {"run": "night-20260101-050000", "config": "another"}
    facts = gather(new.store, new.run(), [other, broken, old])
    assert facts.before == old["run"]
    assert [(each.stage, str(each.change)) for each in facts.changed] == [("align", "align.beta: 0.1 → 0.2")]
    assert facts.rebuilt == ["evaluate[align]", "register", "promote"]


def test_the_lineage_shows_every_artifact_once_before_it_is_referred_to(tmp_path: Path):
    made = make_run(tmp_path)
    address = {label: record.address for label, record in made.records.items()}
    told: list[tuple[str, bool]] = []

    def walk(node) -> None:
        told.append((node.address, node.again))
        for child in node.children:
            walk(child)

    walk(tree(made.store, address["align"]))
    chain = [address[label] for label in ("align", "sft", "pretrain", "extract", "ingest")]
    assert told == [*((each, False) for each in chain), (address["extract"], True)]


def test_what_was_deleted_since_is_named(tmp_path: Path):
    made = make_run(tmp_path)
    (made.store.path(made.records["sft"].address) / "record.json").unlink()
    facts = gather(made.store, made.run(), [])
    assert facts.gone == [made.records["sft"].address]
    assert next(stage for stage in facts.stages if stage.stage == "sft").rows_in is None


def test_the_facts_are_json(tmp_path: Path):
    made = make_run(tmp_path)
    facts = json.loads(json.dumps(as_json(gather(made.store, made.run(), []))))
    assert facts["verdict"]["title"] == "Promoted: miller version 7 is champion"
    assert facts["ledger"]["spent"]["costs"]["seconds"] == 900.0
