"""L(N, D) = E + A / N^α + B / D^β: bits per byte after training N parameters on D tokens.

Approach 3 of Hoffmann et al. 2022 (arXiv:2203.15556): Huber loss between the logarithms, the best of a grid of starting
points. Uncertainty by bootstrap of the residuals: rungs are few, and drawing among them would lose whole depths.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNKNOWNS = 5
_EXPONENTS = (0.01, 3.0)
_LOG_TERMS = (-20.0, 5.0)  # of E, A and B, in bits per byte at the middle of the ladder


@dataclass(frozen=True)
class Law:
    """The five numbers; `A` and `B` belong to N and D in single parameters and tokens."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def bits(self, parameters: ArrayLike, tokens: ArrayLike) -> NDArray[np.float64]:
        """Bits per byte, for arrays of any one shape."""
        n, d = np.asarray(parameters, np.float64), np.asarray(tokens, np.float64)
        return self.E + self.A / n**self.alpha + self.B / d**self.beta

    def optimum(self, flops: float) -> tuple[float, float]:
        """The parameters and tokens of the lowest loss where 6 · N · D = flops (their equation 4)."""
        product_nd = flops / 6
        ratio = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        parameters = ratio * product_nd ** (self.beta / (self.alpha + self.beta))
        return parameters, product_nd / parameters


def fit_law(parameters: ArrayLike, tokens: ArrayLike, bits: ArrayLike, *, huber_delta: float = 1e-2) -> Law:
    """The law nearest to the measured bits per byte. [rungs] each, at least five.

    Raises ValueError for fewer rungs, or bits that are not finite and positive.
    """
    ladder = _Ladder(parameters, tokens, bits)
    return ladder.law(ladder.fit(ladder.log_bits, _grid(ladder.log_bits), huber_delta))


def bootstrap_laws(
    parameters: ArrayLike, tokens: ArrayLike, bits: ArrayLike, *, resamples: int, seed: int, huber_delta: float = 1e-2
) -> tuple[list[Law], NDArray[np.float64]]:
    """Laws fitted to the fitted values plus residuals drawn anew, and the residuals they were drawn from.

    Residuals are of ln(bits), centred, and larger by sqrt(n / (n − 5)): a fit of five unknowns leaves them too small.
    """
    ladder = _Ladder(parameters, tokens, bits)
    best = ladder.fit(ladder.log_bits, _grid(ladder.log_bits), huber_delta)
    fitted = ladder.log_prediction(best)
    count = len(fitted)
    residuals = ladder.log_bits - fitted
    residuals = (residuals - residuals.mean()) * np.sqrt(count / max(1, count - UNKNOWNS))
    rng = np.random.default_rng(seed)
    laws = [
        ladder.law(ladder.fit(fitted + rng.choice(residuals, count), [best], huber_delta)) for _ in range(resamples)
    ]
    return laws, residuals


class _Ladder:
    """Measurements, and the law in the coordinates it is fitted in.

    theta = (ln E, ln of both terms at the middle of the ladder, α, β): numbers of one size, so the fit converges.
    """

    def __init__(self, parameters: ArrayLike, tokens: ArrayLike, bits: ArrayLike) -> None:
        n, d, measured = (np.asarray(values, np.float64) for values in (parameters, tokens, bits))
        assert n.shape == d.shape == measured.shape
        if len(n) < UNKNOWNS or not (np.isfinite(measured) & (measured > 0)).all():
            raise ValueError(
                f"a scaling law of {UNKNOWNS} unknowns needs as many rungs with finite bits per byte; got {measured}"
            )
        self.middle_n, self.middle_d = np.log(n).mean(), np.log(d).mean()
        self.x, self.y = np.log(n) - self.middle_n, np.log(d) - self.middle_d
        self.log_bits = np.log(measured)

    def fit(self, log_bits: NDArray, starts: Iterable[NDArray], huber_delta: float) -> NDArray:
        from scipy.optimize import least_squares

        lower = np.array([_LOG_TERMS[0]] * 3 + [_EXPONENTS[0]] * 2)
        upper = np.array([_LOG_TERMS[1]] * 3 + [_EXPONENTS[1]] * 2)
        found = [
            least_squares(
                lambda theta: self.log_prediction(theta) - log_bits,
                np.clip(start, lower + 1e-6, upper - 1e-6),
                jac=self._jacobian,  # pyright: ignore[reportArgumentType]
                bounds=(lower, upper),
                loss="huber",
                f_scale=huber_delta,
                max_nfev=300,
            )
            for start in starts
        ]
        return min(found, key=lambda each: each.cost).x

    def log_prediction(self, theta: NDArray) -> NDArray:
        return np.log(self._terms(theta).sum(axis=0))

    def law(self, theta: NDArray) -> Law:
        log_e, log_a, log_b, alpha, beta = theta.tolist()
        a, b = np.exp(log_a + alpha * self.middle_n), np.exp(log_b + beta * self.middle_d)
        return Law(E=float(np.exp(log_e)), A=float(a), alpha=alpha, B=float(b), beta=beta)

    def _terms(self, theta: NDArray) -> NDArray:
        """E, A-term and B-term at each rung: [3, rungs]."""
        log_e, log_a, log_b, alpha, beta = theta
        return np.exp(np.stack([np.full_like(self.x, log_e), log_a - alpha * self.x, log_b - beta * self.y]))

    def _jacobian(self, theta: NDArray) -> NDArray:
        """Derivative of the log prediction: [rungs, 5]."""
        terms = self._terms(theta)
        shares = terms / terms.sum(axis=0)
        return np.stack([shares[0], shares[1], shares[2], -shares[1] * self.x, -shares[2] * self.y], axis=1)


def _grid(log_bits: NDArray) -> list[NDArray]:
    """Starting points: how much of the loss is E, how the rest is shared, how steep both terms are."""
    middle = float(np.exp(log_bits.mean()))
    return [
        np.array([np.log(middle * floor), np.log(middle * rest * side), np.log(middle * rest * (1 - side)), a, b])
        for floor, side, a, b in product((0.2, 0.5, 0.8), (0.3, 0.7), (0.2, 0.6), (0.2, 0.6))
        for rest in (1 - floor,)
    ]
