"""Money, energy and savings of a run, by hand arithmetic."""

from typing import Any

import pytest

from gristmill.ledger.account import priced, run_costs, stage_costs
from gristmill.ledger.config import PricesConfig
from gristmill.ledger.costs import Costs

HOUR = Costs(seconds=3600, cpu_seconds=7200, gpu_seconds=1800, peak_memory_bytes=10, bytes_read=20, bytes_written=30)


def stage(name: str, state: str, costs: Costs | None, key: str | None = None) -> dict[str, Any]:
    return {"stage": name, "state": state, "key": key or f"k/{name}-0", "costs": costs and costs.model_dump()}


def run(*stages: dict[str, Any], **prices: Any) -> dict[str, Any]:
    return {"run": "r", "seconds": 9.0, "prices": prices, "stages": list(stages)}


def test_money_is_hours_by_the_prices_that_are_stated():
    assert priced(HOUR, PricesConfig()).money is None
    assert priced(HOUR, PricesConfig(machine_hour=2.0)).money == 2.0
    assert priced(HOUR, PricesConfig(machine_hour=2.0, cpu_hour=0.5, gpu_hour=3.0)).money == 2.0 + 1.0 + 1.5


def test_energy_is_measured_or_estimated_or_not_readable_and_co2_follows_from_it():
    prices = PricesConfig(cpu_watts=10, grams_co2_per_kwh=400, kwh=0.3)
    measured = priced(HOUR.model_copy(update={"joules": 7.2e6}), prices)
    assert (measured.energy, measured.kwh, measured.grams_co2) == ("measured", 2.0, 800.0)
    assert measured.money == pytest.approx(0.6)
    estimated = priced(HOUR, prices)
    assert (estimated.energy, estimated.kwh) == ("estimated", 0.02)
    assert estimated.grams_co2 == pytest.approx(8.0)
    unknown = priced(HOUR, PricesConfig(grams_co2_per_kwh=400))
    assert (unknown.energy, unknown.kwh, unknown.grams_co2) == ("not readable", None, None)


def test_what_was_reused_is_saved_once_and_what_is_not_recorded_is_named():
    made = run_costs(
        run(
            stage("ingest", "reused", HOUR),
            stage("examples", "built", HOUR),
            stage("mix", "reused", None),
            stage("evaluate[a]", "reused", HOUR, key="k/shared-0"),
            stage("evaluate[b]", "reused", HOUR, key="k/shared-0"),
            stage("again", "reused", HOUR, key="k/examples-0"),
            machine_hour=1.0,
        )
    )
    assert made.spent.costs.seconds == 3600
    assert made.saved.costs.seconds == 2 * 3600
    assert made.saved.costs.peak_memory_bytes == 10
    assert made.saved.money == 2.0
    assert made.unknown == ["mix"]


def test_other_prices_take_the_place_of_the_runs_own():
    (one,) = stage_costs(run(stage("mix", "built", HOUR), machine_hour=1.0), PricesConfig(machine_hour=5.0))
    assert one.priced
    assert one.priced.money == 5.0


def test_a_run_older_than_the_ledger_has_no_costs():
    old = {"run": "r", "seconds": 1.0, "stages": [{"stage": "mix", "state": "built", "seconds": 1.0, "key": "k/mix-0"}]}
    assert [each.priced for each in stage_costs(old)] == [None]
    assert run_costs(old).spent.kwh is None
