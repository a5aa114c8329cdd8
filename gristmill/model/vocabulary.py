"""A model that goes on with more tokens than it was made for: its matrices grow, and no new row starts at random.

A new token begins where the tokens it replaces are on the mean, as input and as output; so the model's first guesses
are near those it made for the pieces (Minixhofer et al. 2022, arXiv:2112.06598, and Hewitt 2021 on why not at random).
As output the mean is a little shorter: beside its pieces, which keep their rows, a new token would be guessed too
often.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

TOKENIZER = "tokenizer.json"
OUTPUT_SHARE = 0.9
"""Length of a new row of the output matrix, as a share of the mean's; measured on SmolLM2 (docs/adapting.md)."""


def check_vocabulary(model: Path, tokenizer: Path) -> None:
    """Raises ValueError when the token ids of the model in this folder mean other text in that tokenizer."""
    if not (model / TOKENIZER).is_file() or _same(model, tokenizer):
        return
    own, wanted = _vocabulary(model), _vocabulary(tokenizer)
    moved = sorted(token for token, number in own.items() if wanted.get(token) != number)
    if moved:
        raise ValueError(
            f"{len(moved):,} of the {len(own):,} tokens of the model to start from have another id, or none, in the "
            f"tokenizer of the token shards ({moved[0]!r} first); tokenize with the model's own tokenizer or one that "
            "extends it, or train from scratch"
        )


def grow_vocabulary(model: PreTrainedModel, *, own: Path, tokenizer: Path, vocab_size: int) -> int:
    """Give the model rows for the tokens that `tokenizer` has and the model's own lacks. Returns their number.

    own, tokenizer: folders with a tokenizer.json; the one extends the other (`check_vocabulary`). vocab_size: rows
    needed; a model that has more keeps them.
    """
    if _same(own, tokenizer):
        return 0
    before, after = (Tokenizer.from_file(str(folder / TOKENIZER)) for folder in (own, tokenizer))
    known, listed = before.get_vocab(with_added_tokens=True), after.get_added_tokens_decoder()
    pieces: dict[int, list[int]] = {}
    for token, number in after.get_vocab(with_added_tokens=True).items():
        if token not in known and number in listed:
            pieces[number] = before.encode(token, add_special_tokens=False).ids
        elif token not in known:
            pieces[number] = [piece.id for piece in before.model.tokenize(token)]
    rows = len(model.get_input_embeddings().get_parameter("weight"))
    if vocab_size > rows:
        model.resize_token_embeddings(vocab_size, mean_resizing=False)
    with torch.no_grad():
        for weight, share in _matrices(model):
            weight[rows:] = weight[:rows].mean(dim=0)  # ids that no token has
            for number, replaced in pieces.items():
                weight[number] = share * weight[replaced].mean(dim=0)
    return len(pieces)


def own_tokens(folder: Path, model: PreTrainedModel) -> int:
    """Size of the vocabulary that the model in this folder was trained with; `model` may have grown since."""
    if not (folder / TOKENIZER).is_file():
        return model.config.vocab_size
    return max(_vocabulary(folder).values()) + 1


def _matrices(model: PreTrainedModel) -> list[tuple[torch.Tensor, float]]:
    """Embeddings and output matrix with the length of new rows, as a share of the mean's; one where they are tied.

    Also the output's biases, a number a token, in BERT.
    """
    output = model.get_output_embeddings()
    of_output = [] if output is None else list(output.parameters())
    of_input = model.get_input_embeddings().parameters()
    return [
        *((weight, 1.0) for weight in of_input if all(weight is not other for other in of_output)),
        *((weight, OUTPUT_SHARE if weight.ndim > 1 else 1.0) for weight in of_output),
    ]


def _same(one: Path, other: Path) -> bool:
    return (one / TOKENIZER).read_bytes() == (other / TOKENIZER).read_bytes()


def _vocabulary(folder: Path) -> dict[str, int]:
    return Tokenizer.from_file(str(folder / TOKENIZER)).get_vocab(with_added_tokens=True)
