"""What a run comes to before it starts: parameters, arithmetic, memory.

Counts are exact for parameters, within a few percent of `torch.utils.flop_counter` for arithmetic, and an estimate for
memory: the activations' bytes were fitted to what autograd saves. Left out: communication between processes, activation
checkpointing.
"""

from dataclasses import dataclass

from gristmill.model.config import ModelShape

FP32_BYTES = 4


@dataclass(frozen=True)
class Parameters:
    """Numbers in a model. head: the output matrix, 0 where the embeddings are it too."""

    layers: int
    embeddings: int
    head: int

    @property
    def total(self) -> int:
        return self.layers + self.embeddings + self.head


@dataclass(frozen=True)
class Memory:
    """Bytes of one process at the peak of a step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits


def parameters_of(shape: ModelShape, *, vocab_size: int, tied: bool) -> Parameters:
    embeddings = vocab_size * shape.width
    return Parameters(shape.parameters_without_vocabulary, embeddings, 0 if tied else embeddings)


def flops_per_token(shape: ModelShape, *, vocab_size: int, seq_len: int) -> int:
    """Forward and backward: 6 for each number of a matrix, and attention's two products with all positions of a row.

    A causal mask saves half of the latter where the kernel skips what it hides; it is counted in full, as is usual
    (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
    """
    attention_width = shape.heads * shape.head_dim
    return 6 * (_matrices(shape) + vocab_size * shape.width) + 12 * shape.depth * attention_width * seq_len


def memory_of(
    shape: ModelShape, *, vocab_size: int, tied: bool, seq_len: int, micro_rows: int, precision: str
) -> Memory:
    """Weights, gradients and state in float32; Muon keeps one number for a matrix, AdamW two for all else."""
    parameters = parameters_of(shape, vocab_size=vocab_size, tied=tied)
    matrices = _matrices(shape)
    size = 2 if precision == "bf16" else FP32_BYTES
    tokens = micro_rows * seq_len
    projected = (shape.heads + shape.kv_heads) * shape.head_dim
    layer_bytes = 26 * shape.width + 4 * size * shape.ffn_width + (2 + 4 * size) * projected
    return Memory(
        weights=FP32_BYTES * parameters.total,
        gradients=FP32_BYTES * parameters.total,
        optimizer=FP32_BYTES * (matrices + 2 * (parameters.total - matrices)),
        activations=tokens * (shape.depth * layer_bytes + 12 * shape.width),
        logits=2 * size * tokens * vocab_size,  # and their gradient
    )


def _matrices(shape: ModelShape) -> int:
    attention = 2 * shape.width * shape.head_dim * (shape.heads + shape.kv_heads)
    return shape.depth * (attention + 3 * shape.width * shape.ffn_width)
