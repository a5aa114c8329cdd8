"""What each weight of a model is for, by its name: initialization and optimizers treat the kinds differently.

Names are those of the transformers classes that `build.py` makes, and of their relatives.
"""

from typing import Literal

from torch import Tensor

Role = Literal["matrix", "embedding", "head", "norm"]

EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "position_embeddings", "token_type_embeddings")
HEADS = ("lm_head", "decoder")
ROUTER = "mlp.gate.weight"
CONV1D = ("c_attn", "c_proj", "c_fc")


def parameter_role(name: str, weight: Tensor) -> Role:
    """`matrix`: inside the layers, also a stack of experts [E, out, in]; `embedding`: rows looked up by token or
    position; `head`: scores of tokens or experts, one row each; `norm`: gains and biases, one number a feature."""
    layer = name.rsplit(".", 2)[-2] if "." in name else name
    if weight.ndim < 2:
        return "norm"
    if layer in EMBEDDINGS:
        return "embedding"
    # a router is a small classifier: Muon would push the rows of all its experts equally far at every step
    if layer in HEADS or name.endswith(ROUTER):
        return "head"
    return "matrix"


def fan_in(name: str, weight: Tensor) -> int:
    """Inputs of each output of a matrix [out, in] or of a stack of them [E, out, in].

    GPT-2 keeps its matrices the other way round, [in, out].
    """
    return weight.shape[0 if name.rsplit(".", 2)[-2] in CONV1D else -1]
