"""What is measured of a model's speed."""

from typing import Literal

from pydantic import Field, PositiveInt

from gristmill.schema import Schema

SpeedFormat = Literal["fp32", "bf16", "int8", "gguf"]


class SpeedConfig(Schema):
    """Time to the first token, tokens a second and memory, for one user on this machine.

    The key does not know the machine: refresh `evaluate` to measure on another.
    """

    formats: list[SpeedFormat] = Field(default=["fp32"], min_length=1)
    """`fp32` and `bf16` run in transformers, `gguf` (float16) and `int8` (Q8_0) in llama.cpp (`gristmill[llama]`)."""
    prompt_tokens: PositiveInt = 64
    """Length of the prompt, of random tokens."""
    new_tokens: int = Field(default=32, ge=2)
    """Length of the answer."""
    repeats: PositiveInt = 3
    """Answers timed, after one that is not; the median counts."""
