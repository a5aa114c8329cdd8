"""Two recipes on one set of documents: the difference in bits per byte, paired over seeds and documents.

Both vary: another seed gives another model, another choice of documents another mean. Seeds and documents are crossed,
so the variance of the difference is that of the means over seeds plus that of the means over documents; what both share
is counted twice, which makes the interval a little too wide. Few seeds are paid for by the t distribution, with degrees
of freedom after Satterthwaite (1946).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """Bits per byte, recipe minus baseline, with an interval."""

    mean: float
    low: float
    high: float
    degrees_of_freedom: float

    @property
    def verdict(self) -> str:
        """`better` (fewer bits), `worse`, or `no difference shown`: the interval holds zero."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "no difference shown"


def bits_per_byte(bits_SD: NDArray[np.float64], bytes_D: NDArray[np.float64]) -> NDArray[np.float64]:
    """[seeds]: of the whole set, for each seed. bits: [seeds, documents]."""
    return bits_SD.sum(axis=1) / bytes_D.sum()


def paired_difference(
    recipe_SD: NDArray[np.float64], baseline_SD: NDArray[np.float64], bytes_D: NDArray[np.float64], *, confidence: float
) -> Difference:
    """Bits per byte of a recipe minus those of the baseline.

    recipe, baseline: bits, [seeds, documents], the same seeds and documents in the same order; at least two of each.
    """
    assert recipe_SD.shape == baseline_SD.shape
    seeds, documents = recipe_SD.shape
    if seeds < 2 or documents < 2:
        raise ValueError(f"{seeds} seeds and {documents} documents; an interval needs at least 2 of each")
    from scipy.stats import t

    difference_SD = recipe_SD - baseline_SD
    by_seed = bits_per_byte(difference_SD, bytes_D)
    mean = float(by_seed.mean())
    # of a ratio, Σ bits / Σ bytes, where the documents drawn decide both (Cochran 1977, section 2.11)
    by_document = (difference_SD.mean(axis=0) - mean * bytes_D) * documents / bytes_D.sum()
    of_seeds = float(by_seed.var(ddof=1)) / seeds
    of_documents = float(by_document.var(ddof=1)) / documents
    variance = of_seeds + of_documents
    if variance == 0:
        return Difference(mean, mean, mean, float(seeds - 1))
    freedom = variance**2 / (of_seeds**2 / (seeds - 1) + of_documents**2 / (documents - 1))
    half = float(t.ppf((1 + confidence) / 2, freedom)) * variance**0.5
    return Difference(mean, mean - half, mean + half, freedom)
