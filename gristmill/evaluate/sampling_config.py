"""How the next token is chosen from a model's logits. Names are those of transformers' generation configuration."""

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from gristmill.schema import Schema


class Sampling(Schema):
    """Repetition penalty, temperature, top-k and top-p, in this order. The default is greedy."""

    temperature: NonNegativeFloat = 0.0
    """Logits are divided by it: below 1 the likely becomes likelier. 0: the likeliest token, always."""
    top_k: PositiveInt | None = None
    """Draw from this many likeliest tokens; null: from all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the fewest likeliest tokens with this probability together (Holtzman et al. 2019, arXiv:1904.09751)."""
    repetition_penalty: PositiveFloat = 1.0
    """Positive logits of tokens that stand in the prompt or the answer are divided by it, negative ones multiplied
    (Keskar et al. 2019, arXiv:1909.05858); 1: no penalty."""
