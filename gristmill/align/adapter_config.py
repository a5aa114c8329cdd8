"""An adapter that trains in place of a model's own weights."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from gristmill.schema import Schema


class Adapter(Schema):
    """Low-rank matrices beside the frozen ones (LoRA; Hu et al. 2021, arXiv:2106.09685)."""

    kind: Literal["lora", "dora", "qlora"] = "lora"
    """`dora`: learns the length of each column apart from its direction (arXiv:2402.09353). `qlora`: the frozen
    matrices are kept in 4 bits, NF4 (arXiv:2305.14314), and merged with as they were; needs CUDA and bitsandbytes."""
    rank: PositiveInt = 16
    """Rank of the change to each matrix."""
    alpha: PositiveFloat = 32.0
    """The change counts alpha / rank times."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an adapter's inputs that are zeroed in training."""
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Matrices to change: all inside the layers, or those whose names end with one of these, such as `q_proj`."""
    merge: bool = True
    """Add the change to the matrices, so that the checkpoint is a whole model, with the adapter under `adapter/`.
    False: write the adapter alone. Stages that follow need the whole model, so a pipeline refuses that."""
