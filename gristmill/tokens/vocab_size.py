"""How many tokens a model of some size wants: Tao et al. 2024, arXiv:2407.13623.

Their rule from derivatives: the best size of the embeddings (vocabulary × width) grows as the 0.835th power of all
other parameters, from 6,144 × 512 at 33 million (constants of their published code). It was fitted between 33 million
and 3 billion parameters, on English, with as much text as is best for the computing power. Below 33 million it is an
extrapolation. Left out: their correction for much less or more text.
"""

from gristmill.model.shape import ModelShape

EMBEDDINGS, OTHERS, POWER = 6144 * 512, 33_000_000, 0.8354
SMALLEST, MULTIPLE = 1024, 64


def optimal_vocab_size(shape: ModelShape) -> int:
    """Rounded to a multiple of 64, which matrix products like; at least 1,024."""
    embeddings = EMBEDDINGS * (shape.parameters_without_vocabulary / OTHERS) ** POWER
    return max(SMALLEST, MULTIPLE * round(embeddings / shape.width / MULTIPLE))
