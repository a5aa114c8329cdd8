"""The flows `scaling` and `ablation` under real Prefect and MLflow, with trainings side by side."""

import json

import pytest
from workplace import MICRO, Workplace

pytestmark = pytest.mark.e2e

SIDE_BY_SIDE = ("--set", "resources={workers: 1, threads: 2, trainings: 2}")


def test_a_ladder_is_trained_side_by_side_and_reused(work: Workplace):
    ladder = (
        *("scaling", "--config", str(MICRO), *SIDE_BY_SIDE),
        *("--set", "scaling={depths: [1, 2, 3], width_per_layer: 16, tokens_per_parameter: [0.2, 0.4], hold_out: 0}"),
    )
    work("run", *ladder)
    states = {stage["stage"]: stage["state"] for stage in work.last_run()["stages"]}
    rungs = [f"pretrain[d{depth}-x{ratio}]" for depth in (1, 2, 3) for ratio in ("0.2", "0.4")]
    assert {states[rung] for rung in rungs} == {"built"}
    law = work.home / work.last_run()["stages"][-1]["key"]
    assert len(json.loads((law / "report.json").read_text())["metrics"]) >= 5
    work("run", *ladder)
    assert {stage["state"] for stage in work.last_run()["stages"]} == {"reused"}


def test_recipes_are_compared_and_the_run_ends_with_the_verdict(work: Workplace):
    out = work("run", "ablation", "--config", str(MICRO), *SIDE_BY_SIDE, "--set", "ablation.seeds=[0, 1]")
    assert "clean against raw, bits per byte:" in out
    run = work.last_run()
    assert [stage["stage"] for stage in run["stages"]].count("ablation") == 1
    assert run["scores"]["ablation"]["held_out_bits_per_byte_raw"] > 0
