"""Which models make a ladder, and which budgets its law is asked about."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from gristmill.schema import Schema, StageConfig


class FlopsBudget(Schema):
    """So many floating-point operations of training."""

    kind: Literal["flops"] = "flops"
    flops: PositiveFloat
    """Operations, such as 1e18."""


class HoursBudget(Schema):
    """Hours of one training process like those of the ladder, at the speed that its largest model had."""

    kind: Literal["hours"] = "hours"
    hours: PositiveFloat
    """Hours."""


class MoneyBudget(Schema):
    """What such hours cost."""

    kind: Literal["money"] = "money"
    money: PositiveFloat
    """Amount, in the currency of the price."""
    price_per_hour: PositiveFloat
    """Price of an hour of what one training process of the ladder ran on."""


Budget = Annotated[FlopsBudget | HoursBudget | MoneyBudget, Field(discriminator="kind")]


class ScalingConfig(StageConfig):
    """A ladder of depths at several token budgets, and the law through it (Hoffmann et al. 2022, arXiv:2203.15556)."""

    depths: list[PositiveInt] = [1, 2, 3, 4, 5, 6]
    """Depths of the models; every other size and setting follows from `model` and `pretrain`."""
    width_per_layer: PositiveInt | None = None
    """Width of a model for each layer, with one attention head a layer; null: what `model` derives."""
    tokens_per_parameter: list[PositiveFloat] = [1.25, 2.5, 5.0]
    """Token budgets of each depth, for each parameter that a token is multiplied with: those of the layers, of the last
    norm and of the output matrix. `pretrain.tokens_per_parameter` leaves the output matrix out; a ladder does not
    read it."""
    min_tokens: NonNegativeInt = 0
    """Rungs of fewer tokens are left out: a training that has hardly begun follows another law (docs/scaling.md)."""
    max_flops: PositiveFloat | None = None
    """Rungs that need more operations are left out; null: none."""
    hold_out: NonNegativeInt = 1
    """So many of the largest depths are not fitted but predicted, for the error of prediction. The law that answers
    `budgets` is fitted to all rungs."""
    huber_delta: PositiveFloat = 1e-2
    """Errors of ln(bits per byte) above this count by their size and not by its square (Huber loss). Hoffmann et al.
    use 1e-3 on 400 rungs; on a dozen that fits through five of them exactly."""
    resamples: PositiveInt = 400
    """Fits of the bootstrap behind all intervals."""
    budgets: list[Budget] = []
    """For each of these: the best number of parameters and of tokens, by the law."""
    seed: int = Field(default=0, ge=0)
    """Seed of the bootstrap."""

    @model_validator(mode="after")
    def _the_law_can_be_fitted(self) -> Self:
        for name, values in (("depths", self.depths), ("tokens_per_parameter", self.tokens_per_parameter)):
            if sorted(set(values)) != values:
                raise ValueError(f"scaling.{name}={values}: name each once, the smallest first")
        if len(self.depths) - self.hold_out < 3 or len(self.tokens_per_parameter) < 2:
            raise ValueError(
                f"scaling: {len(self.depths)} depths, {self.hold_out} of them held out, at "
                f"{len(self.tokens_per_parameter)} token budgets; the law has five unknowns and needs at least 3 "
                "fitted depths at 2 budgets"
            )
        return self
