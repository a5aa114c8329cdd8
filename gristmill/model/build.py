"""Build a model from its shape, with an initialization of our own; or load one from a Hugging Face folder.

The last matrix of each residual branch starts at zero, so a new model is the identity from embedding to final norm and
every branch grows from there (Zhang et al. 2019, arXiv:1901.09321). An output matrix of its own starts at zero too: the
first guess is uniform (Yang et al. 2022, arXiv:2203.03466). Other matrices are normal with variance 1 / fan-in.
Drawn on the CPU in float32: the same weights on every device.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel

from gristmill.model.config import ModelConfig, is_masked_model
from gristmill.model.families import new_model
from gristmill.model.roles import fan_in, parameter_role
from gristmill.model.vocabulary import TOKENIZER, check_vocabulary, grow_vocabulary

EMBEDDING_STD = 0.5
TIED_EMBEDDING_STD = 0.02  # they are the output matrix too: larger ones make a new model's guesses bold
ZERO_AT_START = (
    *("o_proj.weight", "down_proj.weight", "experts.down_proj", "lm_head.weight"),
    "c_proj.weight",  # GPT-2, after attention and in the feed-forward
    "output.dense.weight",  # BERT, the same two
)
POSITIONS = ("wpe.weight", "position_embeddings.weight")


def build_model(
    config: ModelConfig, *, vocab_size: int, max_seq_len: int, bos_id: int, eos_id: int, pad_id: int, seed: int
) -> PreTrainedModel:
    """A new model in float32 on the CPU, for rows of max_seq_len predicted tokens."""
    model = new_model(
        config,
        vocab_size=vocab_size,
        max_position_embeddings=config.shape.positions(max_seq_len),
        bos_token_id=bos_id,
        eos_token_id=eos_id,
        pad_token_id=pad_id,
    )
    initialize(model, seed=seed)
    return model


def initialize(model: PreTrainedModel, *, seed: int) -> None:
    """Overwrite every weight of a new model, in the order of its parameters."""
    generator = torch.Generator().manual_seed(seed)
    embedding_std = TIED_EMBEDDING_STD if model.config.tie_word_embeddings else EMBEDDING_STD
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _start(name, weight, embedding_std=embedding_std, generator=generator)


def _start(name: str, weight: Tensor, *, embedding_std: float, generator: torch.Generator) -> None:
    role = parameter_role(name, weight)
    if role == "norm":
        weight.fill_(0.0 if name.endswith("bias") else 1.0)
    elif name.endswith(ZERO_AT_START):
        weight.zero_()
    elif name.endswith(POSITIONS):
        weight.copy_(embedding_std * 2**0.5 * sinusoids(*weight.shape))
    elif role == "embedding":
        weight.normal_(0.0, embedding_std, generator=generator)
    else:
        weight.normal_(0.0, fan_in(name, weight) ** -0.5, generator=generator)


def sinusoids(positions: int, width: int) -> Tensor:
    """[positions, width]: sines, then cosines, of position · 10000^(-2i / width) (Vaswani et al. 2017,
    arXiv:1706.03762). A step to the next position is one rotation, the same everywhere."""
    pairs = -(-width // 2)
    angles = torch.arange(positions)[:, None] * 10_000.0 ** (-torch.arange(pairs) / pairs)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def without_dropout(sizes: PreTrainedConfig) -> PreTrainedConfig:
    """The same model without noise in training, which draws no random numbers and so resumes bit by bit."""
    for name, value in vars(sizes).items():
        if ("dropout" in name or "pdrop" in name) and isinstance(value, float):
            setattr(sizes, name, 0.0)
    return sizes


def load_model(folder: Path, *, tokenizer: Path, vocab_size: int, max_seq_len: int) -> PreTrainedModel:
    """A model from a local Hugging Face folder, in float32, for token shards of this vocabulary and row length.

    tokenizer: folder of the tokenizer that made the shards. Where it extends the model's own, the model grows; a folder
    without a tokenizer.json is believed to have this one. Raises ValueError when the shards hold token ids that mean
    something else to the model or rows that it has no place for.
    """
    masked = is_masked_model(folder)
    model_class = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    sizes = without_dropout(AutoConfig.from_pretrained(folder, local_files_only=True))
    model = model_class.from_pretrained(folder, config=sizes, dtype=torch.float32, local_files_only=True)
    if (folder / TOKENIZER).is_file():
        check_vocabulary(folder, tokenizer)
        grow_vocabulary(model, own=folder, tokenizer=tokenizer, vocab_size=vocab_size)
    if model.config.vocab_size < vocab_size:
        raise ValueError(
            f"the token shards have {vocab_size:,} token ids, the model to start from {model.config.vocab_size:,}; "
            "tokenize with the tokenizer of that model"
        )
    longest = model.config.max_position_embeddings - masked  # a masked model sees a row's last token too
    if longest < max_seq_len:
        raise ValueError(
            f"the token shards have rows of {max_seq_len} tokens but the model to start from was made for "
            f"{longest}; tokenize with a seq_len of at most that"
        )
    return model
