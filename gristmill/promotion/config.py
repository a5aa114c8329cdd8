"""What a model must show to become champion, and whether a person has the last word."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from gristmill.schema import Schema, StageConfig


class AtLeast(Schema):
    """A floor: a recorded number must reach a value."""

    rule: Literal["at_least"] = "at_least"
    metric: str
    """Name of the number, as the evaluation or `promote` records it (docs/promotion.md lists them)."""
    value: float
    """The smallest that passes."""


class AtMost(Schema):
    """A ceiling, for size, latency, safety, contamination: a recorded number must not exceed a value."""

    rule: Literal["at_most"] = "at_most"
    metric: str
    """Name of the number, as the evaluation or `promote` records it."""
    value: float
    """The largest that passes."""


class BetterThanBaseline(Schema):
    """Superiority over both baselines that answer without a model, on the same items."""

    rule: Literal["better_than_baseline"] = "better_than_baseline"
    benchmark: str = "docs_choice"
    """Name of the benchmark."""


class BetterThanChampion(Schema):
    """Superiority over the champion in accuracy on the same items. Passes while there is no champion."""

    rule: Literal["better_than_champion"] = "better_than_champion"
    benchmark: str = "docs_choice"
    """Name of the benchmark; both models must have answered the same items."""


class NotWorseThanChampion(Schema):
    """Non-inferiority: accuracy falls behind the champion's by less than a margin. Passes while there is none."""

    rule: Literal["not_worse_than_champion"] = "not_worse_than_champion"
    benchmark: str = "docs_choice"
    """Name of the benchmark; both models must have answered the same items."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """How much worse still counts as the same, in accuracy (0.02: two points)."""


Rule = Annotated[
    AtLeast | AtMost | BetterThanBaseline | BetterThanChampion | NotWorseThanChampion, Field(discriminator="rule")
]


class PromoteConfig(StageConfig):
    """The gate in front of the alias `champion`: every rule must pass."""

    rules: list[Rule] = [BetterThanBaseline(), BetterThanChampion()]
    """What the challenger must show."""
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.025
    """Significance of the rules that compare, all together and one-sided (corrected by Holm's method)."""
    min_items: PositiveInt = 100
    """Items that a comparison needs at least, without those that a model may have trained on."""
    open_weights: Literal["refuse", "accept"] = "refuse"
    """Comparisons of a model that began as an open one, of which nobody here knows what it has read."""
    approval: Literal["none", "required"] = "none"
    """`required`: a model that passes waits as `challenger` for `gristmill promote --approve VERSION --by NAME`."""
    seed: int = Field(default=0, ge=0)
    """Seed of what is resampled."""

    @model_validator(mode="after")
    def _a_gate_has_rules(self) -> Self:
        if not self.rules:
            raise ValueError("rules is empty, so every model would pass; give at least one")
        if all(isinstance(rule, AtLeast | AtMost) and rule.metric.startswith("judge_") for rule in self.rules):
            raise ValueError(
                "rules ask for nothing but a judge's opinion (judge_…), and a judge can be biased or talked round; add "
                "a rule about a benchmark or bits per byte"
            )
        return self
