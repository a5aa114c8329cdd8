"""The shape of a model, from one dial: `depth` decides every other size that is not given.

Vocabulary and context length are facts of the token shards and are not repeated here.
"""

from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from gristmill.schema import Schema

WIDTH_PER_LAYER = 64
HEAD_DIM = 64
FFN_MULTIPLE = 64


class ModelShape(Schema):
    """Every size of a model, given or derived."""

    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_width: int


class ModelConfig(Schema):
    """A decoder-only transformer: RoPE, RMSNorm, SwiGLU, normalized queries and keys (Qwen3; arXiv:2505.09388)."""

    family: Literal["qwen3"] = "qwen3"
    """Architecture; `qwen3` is a plain `Qwen3ForCausalLM`, which Hugging Face, vLLM and llama.cpp can load."""
    depth: PositiveInt = 4
    """Layers. The dial: sizes left at null follow from it."""
    width: PositiveInt | None = None
    """Size of the residual stream; null: 64 × depth."""
    heads: PositiveInt | None = None
    """Attention heads; null: as many as fit, width / head_dim."""
    kv_heads: PositiveInt | None = None
    """Heads of keys and values, each shared by heads / kv_heads query heads; null: one per query head."""
    head_dim: PositiveInt | None = None
    """Size of one head; null: 64."""
    ffn_width: PositiveInt | None = None
    """Inner size of the feed-forward layers; null: 8/3 × width, rounded up to a multiple of 64."""
    tie_embeddings: bool = False
    """One matrix for input embeddings and output logits. It saves memory, not time, and learns more slowly."""
    rope_theta: PositiveFloat = 10_000.0
    """Base of the rotary position frequencies; larger for contexts above a few thousand tokens."""

    @property
    def shape(self) -> ModelShape:
        width = self.width or WIDTH_PER_LAYER * self.depth
        head_dim = self.head_dim or HEAD_DIM
        heads = self.heads or max(1, width // head_dim)
        return ModelShape(
            depth=self.depth,
            width=width,
            heads=heads,
            kv_heads=self.kv_heads or heads,
            head_dim=head_dim,
            ffn_width=self.ffn_width or -(-8 * width // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE,
        )

    @model_validator(mode="after")
    def _heads_divide_evenly(self) -> Self:
        shape = self.shape
        if shape.heads % shape.kv_heads:
            raise ValueError(
                f"kv_heads={shape.kv_heads} does not divide heads={shape.heads}; each key head serves equally many"
            )
        if shape.head_dim % 2:
            raise ValueError(
                f"head_dim={shape.head_dim} is odd; rotary positions turn pairs of numbers, so use an even one"
            )
        return self
