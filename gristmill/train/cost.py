"""What a run comes to before it starts: parameters, arithmetic, memory.

Counts are exact for parameters, within a few percent of `torch.utils.flop_counter` for arithmetic, and an estimate for
memory: the activations' bytes were fitted to what autograd saves of a qwen3. Left out: models that are cut among
processes, and activation checkpointing.
"""

from dataclasses import dataclass

from gristmill.model.config import ModelShape

FP32_BYTES = 4


@dataclass(frozen=True)
class Parameters:
    """Numbers in a model. layers: what is not vocabulary. active: those that one token meets, fewer in a mixture."""

    layers: int
    vocabulary: int
    active: int

    @property
    def total(self) -> int:
        return self.layers + self.vocabulary


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


def parameters_of(shape: ModelShape, *, vocab_size: int, seq_len: int) -> Parameters:
    return Parameters(
        layers=shape.parameters_without_vocabulary,
        vocabulary=shape.vocabulary_parameters(vocab_size, seq_len),
        active=shape.active_parameters(vocab_size, seq_len),
    )


def scaling_parameters(shape: ModelShape, vocab_size: int) -> int:
    """Parameters that a token is multiplied with: layers and output matrix; of experts, those that it passes through.
    Looking up an embedding is free."""
    return shape.active_parameters_without_vocabulary + vocab_size * shape.width


def flops_per_token(shape: ModelShape, vocab_size: int, seq_len: int) -> int:
    """Operations of training on one token: 6 for each of those parameters, and attention's two products with a row.

    A causal mask saves half of the latter where the kernel skips what it hides; it is counted in full, as is usual
    (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
    """
    parameters = scaling_parameters(shape, vocab_size)
    return flops_by_sizes(parameters, depth=shape.depth, attention_width=shape.heads * shape.head_dim, seq_len=seq_len)


def flops_by_sizes(parameters: int, *, depth: int, attention_width: int, seq_len: int) -> int:
    """The same of a model that is known by its sizes. attention_width: that of all heads together."""
    return 6 * parameters + 12 * depth * attention_width * seq_len


def memory_of(
    shape: ModelShape, *, vocab_size: int, seq_len: int, micro_rows: int, precision: str, optimizer: str
) -> Memory:
    """Weights, gradients and state in float32.

    optimizer: of the layers (`optim.kind`); Muon keeps one number for each of their weights, AdamW two, and two for
    those of the vocabulary in any case.
    """
    parameters = parameters_of(shape, vocab_size=vocab_size, seq_len=seq_len)
    size = 2 if precision == "bf16" else FP32_BYTES
    tokens = micro_rows * seq_len
    projected = (shape.heads + shape.kv_heads) * shape.head_dim
    layer_bytes = 26 * shape.width + 4 * size * shape.ffn_width + (2 + 4 * size) * projected
    return Memory(
        weights=FP32_BYTES * parameters.total,
        gradients=FP32_BYTES * parameters.total,
        optimizer=FP32_BYTES * ((1 if optimizer == "muon" else 2) * parameters.layers + 2 * parameters.vocabulary),
        activations=tokens * (shape.depth * layer_bytes + 12 * shape.width),
        logits=2 * size * tokens * vocab_size,  # and their gradient
    )
