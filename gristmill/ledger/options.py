"""A model from scratch, an adapted one, or somebody's API: what each costs over some months, and from which volume on a
model of one's own is the cheaper one.

    own = training + months · 730 h · machines · hour,  machines = ⌈volume / capacity⌉, at least 1
    API = months · volume · price of a million
    training = 6 · parameters · tokens / FLOP/s / 3600 · hour + what people cost

6 operations for each parameter and token: Kaplan et al. 2020, arXiv:2001.08361. Left out: what differs in quality.
"""

import math

from pydantic import Field, PositiveFloat

from gristmill.schema import Schema

HOURS_PER_MONTH = 730.0


class OptionsQuestion(Schema):
    """Volumes are in millions of tokens a month; money in one currency."""

    volume: PositiveFloat
    """What is asked of the model."""
    months: PositiveFloat = 12.0
    """How long it is used."""
    api_price: PositiveFloat
    """Of a million tokens."""
    machine_hour: PositiveFloat
    """Of a machine that trains and serves."""
    capacity: PositiveFloat
    """What one machine serves at most; `gristmill estimate serving` gives it."""
    tflops: PositiveFloat
    """Arithmetic of that machine that training gets, of all that its data sheet says."""
    parameters: PositiveFloat
    """Of the model."""
    scratch_tokens: PositiveFloat
    """Training from scratch; 20 for each parameter is the usual measure (Hoffmann et al. 2022, arXiv:2203.15556)."""
    adapt_tokens: PositiveFloat
    """Training of an open model."""
    scratch_people: float = Field(default=0, ge=0)
    """What people cost who prepare data and look after training."""
    adapt_people: float = Field(default=0, ge=0)
    """The same for adapting."""


class Option(Schema):
    """One way."""

    name: str
    training: float
    """Once, with what people cost."""
    per_month: float
    """At the stated volume."""
    total: float
    """Over all months."""
    break_even: float | None
    """Millions of tokens a month from which this is no dearer than the API; null: from none, or it is the API."""
    formula: str


def estimate_options(question: OptionsQuestion) -> list[Option]:
    """From scratch, adapted, API."""
    q = question
    ways = [("from scratch", q.scratch_tokens, q.scratch_people), ("adapt", q.adapt_tokens, q.adapt_people)]
    options = []
    for name, tokens, people in ways:
        hours = 6 * q.parameters * tokens / (q.tflops * 1e12) / 3600
        training = hours * q.machine_hour + people
        machines = max(1, math.ceil(q.volume / q.capacity))
        per_month = HOURS_PER_MONTH * machines * q.machine_hour
        options.append(
            Option(
                name=name,
                training=training,
                per_month=per_month,
                total=training + q.months * per_month,
                break_even=break_even(q, training),
                formula=f"6 · {q.parameters:.3g} · {tokens:.3g} / {q.tflops:g} TFLOP/s = {hours:,.1f} h · "
                f"{q.machine_hour:g} + {people:g} = {training:,.2f}; then {machines} · {HOURS_PER_MONTH:.0f} h · "
                f"{q.machine_hour:g} = {per_month:,.2f} a month",
            )
        )
    monthly = q.volume * q.api_price
    formula = f"{q.volume:g} million · {q.api_price:g} = {monthly:,.2f} a month"
    api = {"training": 0.0, "per_month": monthly, "total": q.months * monthly, "break_even": None}
    return [*options, Option(name="API", formula=formula, **api)]


def break_even(question: OptionsQuestion, training: float) -> float | None:
    """The smallest volume at which a model of one's own, trained for so much, is no dearer than the API.

    With n machines the costs are equal at V = (training / months + n · 730 · hour) / API price; it counts where n
    machines are what V takes.
    """
    q = question
    machine = HOURS_PER_MONTH * q.machine_hour
    if machine / q.capacity >= q.api_price:
        return None  # a full machine is dearer than the API
    spread = training / q.months
    # with n full machines: spread + n · machine ≤ n · capacity · API price
    machines = max(1, math.ceil(spread / (q.capacity * q.api_price - machine) - 1e-12))
    return max((spread + machines * machine) / q.api_price, (machines - 1) * q.capacity)
