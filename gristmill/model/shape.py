"""Every size of a model, and how many weights that makes: arithmetic, without torch."""

from typing import Literal

from gristmill.schema import Schema

Family = Literal["qwen3", "qwen3_moe", "llama", "gpt2", "bert"]

TOKEN_TYPES = 2
"""Rows of BERT's embedding of sentence A or B; we use the first."""


class ModelShape(Schema):
    """Every size of a model, given or derived."""

    family: Family = "qwen3"
    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_width: int
    """Inner size of the feed-forward that a token passes through; in a mixture that of its experts together."""
    tie_embeddings: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_width: int = 0

    def parameters(self, vocab_size: int, seq_len: int) -> int:
        """All numbers of the model, for rows of `seq_len` predicted tokens; tied embeddings count once."""
        return self.parameters_without_vocabulary + self.vocabulary_parameters(vocab_size, seq_len)

    def active_parameters(self, vocab_size: int, seq_len: int) -> int:
        """Those that take part in one token's prediction; all of them but in a mixture of experts."""
        return self.active_parameters_without_vocabulary + self.vocabulary_parameters(vocab_size, seq_len)

    def vocabulary_parameters(self, vocab_size: int, seq_len: int) -> int:
        """Numbers in the embeddings, of tokens and of positions where those are learned, and in the output matrix."""
        tokens = vocab_size * self.width * (1 if self.tie_embeddings else 2)
        if self.family == "gpt2":
            return tokens + self.positions(seq_len) * self.width
        if self.family == "bert":
            return tokens + vocab_size + (self.positions(seq_len) + TOKEN_TYPES) * self.width
        return tokens

    def positions(self, seq_len: int) -> int:
        """Tokens that the model is given at once; BERT sees the whole row, for it predicts none beyond its end."""
        return seq_len + 1 if self.family == "bert" else seq_len

    @property
    def parameters_without_vocabulary(self) -> int:
        """Numbers in the layers and the last norm: all of the model but embeddings and output matrix."""
        return self._without_vocabulary(experts=self.experts)

    @property
    def active_parameters_without_vocabulary(self) -> int:
        """Of these, the numbers that one token meets."""
        return self._without_vocabulary(experts=self.experts_per_token)

    def _without_vocabulary(self, *, experts: int) -> int:
        width, ffn_width = self.width, self.ffn_width
        if self.family in ("gpt2", "bert"):  # matrices with biases, norms with gain and bias
            attention = 4 * (width * width + width)
            feed_forward = 2 * width * ffn_width + ffn_width + width
            layers = self.depth * (attention + feed_forward + 4 * width)
            # BERT: a norm after the embeddings, then a matrix and a norm before the output matrix
            return layers + (2 * width if self.family == "gpt2" else width * width + width + 4 * width)
        attention = 2 * width * self.head_dim * (self.heads + self.kv_heads)
        if self.family != "llama":
            attention += 2 * self.head_dim  # norms of queries and keys
        if self.family == "qwen3_moe":
            feed_forward = 3 * width * self.expert_width * experts + self.experts * width
        else:
            feed_forward = 3 * width * ffn_width
        return self.depth * (attention + feed_forward + 2 * width) + width
