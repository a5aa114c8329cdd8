"""What time and energy cost: prices in any one currency. They decide no result and are part of no key."""

from pydantic import Field

from gristmill.schema import Schema


class PricesConfig(Schema):
    """A price that is null is not counted; where all are, no money is shown."""

    currency: str = "EUR"
    """How amounts are labelled."""
    machine_hour: float | None = Field(default=None, ge=0)
    """An hour of this machine, busy or not; `gristmill plan` says what pretraining comes to."""
    cpu_hour: float | None = Field(default=None, ge=0)
    """An hour of one busy core; beside `machine_hour` only where that does not include it."""
    gpu_hour: float | None = Field(default=None, ge=0)
    """An hour of one busy GPU; the same."""
    kwh: float | None = Field(default=None, ge=0)
    """A kilowatt-hour, for a machine of one's own."""
    cpu_watts: float | None = Field(default=None, gt=0)
    """Power of one busy core, to estimate energy where the machine does not say; null: no estimate."""
    grams_co2_per_kwh: float | None = Field(default=None, ge=0)
    """The grid's factor, such as a national agency's figure of last year; null: no grams."""
