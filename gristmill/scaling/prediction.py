"""What a law says: of models it has not seen, and of the best model for a budget."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gristmill.model.config import ModelConfig
from gristmill.scaling.config import Budget, FlopsBudget, HoursBudget, ScalingConfig
from gristmill.scaling.ladder import model_at
from gristmill.scaling.law import Law, bootstrap_laws, fit_law
from gristmill.scaling.results import RungResult
from gristmill.train.cost import flops_per_token, scaling_parameters

MAX_DEPTH = 200


@dataclass(frozen=True)
class FittedLaw:
    """A law and how sure it is: the laws of the bootstrap, and the residuals of ln(bits per byte)."""

    law: Law
    resampled: list[Law]
    residuals: NDArray[np.float64]

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of E, A, alpha, B and beta."""
        columns = {name: [getattr(law, name) for law in self.resampled] for name in asdict(self.law)}
        bounds = {name: np.percentile(values, [2.5, 97.5]).tolist() for name, values in columns.items()}
        return {name: (low, high) for name, (low, high) in bounds.items()}

    def predict(self, rung: RungResult, *, seed: int) -> "Prediction":
        """A measurement to come: its 95 % interval holds the law's uncertainty and the scatter of single trainings."""
        noise = np.random.default_rng(seed).choice(self.residuals, len(self.resampled))
        drawn = [float(law.bits(rung.parameters, rung.tokens)) for law in self.resampled] * np.exp(noise)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Prediction(rung, float(self.law.bits(rung.parameters, rung.tokens)), float(low), float(high))


@dataclass(frozen=True)
class Prediction:
    """Predicted bits per byte of a rung that was not fitted, beside the measured ones."""

    rung: RungResult
    bits: float
    low: float
    high: float

    @property
    def error_percent(self) -> float:
        """Predicted minus measured, in percent of the measured."""
        return 100 * (self.bits / self.rung.bits - 1)


@dataclass(frozen=True)
class Optimum:
    """The best model for a budget: by the law on 6 · N · D operations, and the best depth of the dial with all counted.

    Intervals are of the bootstrap, 95 %."""

    budget: Budget
    flops: float
    parameters: float
    parameters_low: float
    parameters_high: float
    tokens: float
    bits: float
    bits_low: float
    bits_high: float
    depth: int
    depth_parameters: int
    depth_tokens: int
    depth_bits: float


def fit(rungs: Sequence[RungResult], config: ScalingConfig) -> FittedLaw:
    """The law through these rungs and its uncertainty."""
    columns = ([rung.parameters for rung in rungs], [rung.tokens for rung in rungs], [rung.bits for rung in rungs])
    law = fit_law(*columns, huber_delta=config.huber_delta)
    resampled, residuals = bootstrap_laws(
        *columns, resamples=config.resamples, seed=config.seed, huber_delta=config.huber_delta
    )
    return FittedLaw(law, resampled, residuals)


def flops_of(budget: Budget, *, flops_per_s: float) -> float:
    """Operations that a budget buys at a measured speed."""
    if isinstance(budget, FlopsBudget):
        return budget.flops
    hours = budget.hours if isinstance(budget, HoursBudget) else budget.money / budget.price_per_hour
    return hours * 3600 * flops_per_s


def best_for(
    budget: Budget, fitted: FittedLaw, largest: RungResult, model: ModelConfig, config: ScalingConfig
) -> Optimum:
    """The compute-optimal choice. largest: the rung whose speed counts, and whose vocabulary and context."""
    flops = flops_of(budget, flops_per_s=largest.flops_per_s)
    parameters, tokens = fitted.law.optimum(flops)
    optima = [law.optimum(flops) for law in fitted.resampled]
    bits = [float(law.bits(*optimum)) for law, optimum in zip(fitted.resampled, optima, strict=True)]
    sizes_low, sizes_high = np.percentile([optimum[0] for optimum in optima], [2.5, 97.5])
    bits_low, bits_high = np.percentile(bits, [2.5, 97.5])
    depth, depth_parameters, depth_tokens = best_depth(
        fitted.law, flops, model, config, vocab_size=largest.vocab_size, seq_len=largest.seq_len
    )
    return Optimum(
        budget=budget,
        flops=flops,
        parameters=parameters,
        parameters_low=float(sizes_low),
        parameters_high=float(sizes_high),
        tokens=tokens,
        bits=float(fitted.law.bits(parameters, tokens)),
        bits_low=float(bits_low),
        bits_high=float(bits_high),
        depth=depth,
        depth_parameters=depth_parameters,
        depth_tokens=depth_tokens,
        depth_bits=float(fitted.law.bits(depth_parameters, depth_tokens)),
    )


def best_depth(
    law: Law, flops: float, model: ModelConfig, config: ScalingConfig, *, vocab_size: int, seq_len: int
) -> tuple[int, int, int]:
    """The depth of the lowest loss when all operations are spent on it, its parameters and its tokens."""
    choices = []
    for depth in range(1, MAX_DEPTH + 1):
        shape = model_at(depth, config, model).shape
        parameters = scaling_parameters(shape, vocab_size)
        tokens = int(flops // flops_per_token(shape, vocab_size, seq_len))
        if tokens < 1:
            break
        choices.append((float(law.bits(parameters, tokens)), depth, parameters, tokens))
    if not choices:
        raise ValueError(f"scaling.budgets: {flops:.3g} operations do not suffice for one token of a model of depth 1")
    _, depth, parameters, tokens = min(choices)
    return depth, parameters, tokens
