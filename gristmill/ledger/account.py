"""What a run cost and what its cache saved, from the run's own JSON (`runs/NAME.json`) and prices.

money = hours · machine_hour + CPU hours · cpu_hour + GPU hours · gpu_hour + kWh · kwh, of the prices that are stated
kWh   = joules / 3.6 million; where the machine does not say, CPU seconds · cpu_watts / 3.6 million, called estimated
grams = kWh · grams_co2_per_kwh
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gristmill.ledger.config import PricesConfig
from gristmill.ledger.costs import Costs, total
from gristmill.schema import Schema

JOULES_PER_KWH = 3.6e6


class Priced(Schema):
    """Costs with what follows from prices; a number that cannot be known is null."""

    costs: Costs
    kwh: float | None
    energy: Literal["measured", "estimated", "not readable"]
    money: float | None
    grams_co2: float | None


class StageCosts(Schema):
    """One stage of a run. priced: of the build that made the artifact, in this run or an earlier one.

    It is null for an artifact older than the ledger.
    """

    stage: str
    state: str
    key: str
    priced: Priced | None


class RunCosts(Schema):
    """A run: what its built stages cost, and what those that it reused had cost."""

    run: str
    seconds: float
    currency: str
    stages: list[StageCosts]
    spent: Priced
    saved: Priced
    unknown: list[str]
    """Stages whose artifacts are older than the ledger; they are in no sum."""


def stage_costs(run: Mapping[str, Any], prices: PricesConfig | None = None) -> list[StageCosts]:
    """Every stage of a run in order. run: its JSON. prices: in place of those that the run was started with."""
    at = prices or PricesConfig.model_validate(run.get("prices", {}))
    return [
        StageCosts(
            stage=stage["stage"],
            state=stage["state"],
            key=stage["key"],
            priced=priced(Costs.model_validate(costs), at) if (costs := stage.get("costs")) else None,
        )
        for stage in run["stages"]
    ]


def run_costs(run: Mapping[str, Any], prices: PricesConfig | None = None) -> RunCosts:
    """The same with sums. An artifact that several stages of the run share counts once."""
    at = prices or PricesConfig.model_validate(run.get("prices", {}))
    stages = stage_costs(run, at)
    return RunCosts(
        run=run["run"],
        seconds=run["seconds"],
        currency=at.currency,
        stages=stages,
        spent=priced(total(_costs_of(stages, "built")), at),
        saved=priced(total(_costs_of(stages, "reused")), at),
        unknown=[stage.stage for stage in stages if stage.priced is None],
    )


def priced(costs: Costs, prices: PricesConfig) -> Priced:
    """Energy, money and CO₂ of what was used."""
    kwh = None if costs.joules is None else costs.joules / JOULES_PER_KWH
    energy: Literal["measured", "estimated", "not readable"] = "not readable" if kwh is None else "measured"
    if kwh is None and prices.cpu_watts is not None:
        kwh, energy = costs.cpu_seconds * prices.cpu_watts / JOULES_PER_KWH, "estimated"
    gpu_hours = None if costs.gpu_seconds is None else costs.gpu_seconds / 3600
    amounts = [
        (costs.seconds / 3600, prices.machine_hour),
        (costs.cpu_seconds / 3600, prices.cpu_hour),
        (gpu_hours or 0.0, prices.gpu_hour),
        (kwh or 0.0, prices.kwh),
    ]
    stated = [amount * price for amount, price in amounts if price is not None]
    grams = None if kwh is None or prices.grams_co2_per_kwh is None else kwh * prices.grams_co2_per_kwh
    return Priced(costs=costs, kwh=kwh, energy=energy, money=sum(stated) if stated else None, grams_co2=grams)


def _costs_of(stages: Sequence[StageCosts], state: str) -> list[Costs]:
    built = {stage.key for stage in stages if stage.state == "built"}
    unique = {
        stage.key: stage.priced.costs
        for stage in stages
        if stage.priced and stage.state == state and (state == "built" or stage.key not in built)
    }
    return list(unique.values())
