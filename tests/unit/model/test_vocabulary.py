"""Models that grow with their vocabulary: old rows stay, new ones begin at the mean of what they replace."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from gristmill.model.build import build_model, load_model
from gristmill.model.config import ModelConfig
from gristmill.model.vocabulary import OUTPUT_SHARE

VOCAB = {"a": 0, "b": 1, "c": 2, "ab": 3}
MERGES = [("a", "b")]


def write_tokenizer(
    folder: Path, vocab: dict[str, int], merges: list[tuple[str, str]], special: str | None = None
) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    if special:
        tokenizer.add_special_tokens([special])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request, tmp_path) -> Path:
    """A model with rows for 4 tokens and two to spare, and its tokenizer."""
    config = ModelConfig(depth=1, width=16, head_dim=8, tie_embeddings=request.param)
    model = build_model(config, vocab_size=6, max_seq_len=16, bos_id=0, eos_id=0, pad_id=0, seed=0)
    torch.nn.init.normal_(model.lm_head.weight, generator=torch.Generator().manual_seed(1))  # it begins as zeros
    model.save_pretrained(tmp_path / "model")
    return write_tokenizer(tmp_path / "model", VOCAB, MERGES)


def load(folder: Path, tokenizer: Path, vocab_size: int):
    return load_model(folder, tokenizer=tokenizer, vocab_size=vocab_size, max_seq_len=16)


def matrices(model) -> list[torch.Tensor]:
    return [model.model.embed_tokens.weight, model.lm_head.weight]


def test_new_tokens_begin_at_the_mean_of_the_tokens_they_replace(folder, tmp_path):
    more = VOCAB | {"abc": 4, "abcc": 5, "abcca": 6, "ca": 8}  # 4 and 5 are spare rows of the model; 7 is nobody's
    merges = [*MERGES, ("ab", "c"), ("abc", "c"), ("abcc", "a"), ("c", "a")]
    before = [matrix.clone() for matrix in matrices(load(folder, folder, 4))]
    grown = load(folder, write_tokenizer(tmp_path / "more", more, merges), 9)
    assert grown.config.vocab_size == 9
    shares = [OUTPUT_SHARE if grown.config.tie_word_embeddings else 1.0, OUTPUT_SHARE]
    for share, old, new in zip(shares, before, matrices(grown), strict=True):
        assert new.shape == (9, 16)
        assert torch.equal(new[:4], old[:4])
        assert torch.allclose(new[4], share * (old[3] + old[2]) / 2)
        assert torch.allclose(new[5], share * (old[3] + 2 * old[2]) / 3)
        assert torch.allclose(new[6], share * (old[3] + 2 * old[2] + old[0]) / 4)
        assert torch.allclose(new[8], share * (old[2] + old[0]) / 2)
        assert torch.allclose(new[7], old.mean(dim=0))


def test_a_grown_model_is_saved_and_used_like_any_other(folder, tmp_path):
    grown = load(folder, write_tokenizer(tmp_path / "more", VOCAB | {"abc": 4, "ca": 5, "cb": 6}, MERGES), 7)
    tokens = torch.tensor([[0, 6, 3, 5]])
    assert grown(input_ids=tokens).logits.shape == (1, 4, 7)
    grown.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved", folder, 7)
    assert torch.equal(again(input_ids=tokens).logits, grown(input_ids=tokens).logits)


def test_a_new_special_token_begins_at_the_mean_of_its_letters(folder, tmp_path):
    before = matrices(load(folder, folder, 4))[0]
    grown = load(folder, write_tokenizer(tmp_path / "more", VOCAB, MERGES, special="cba"), 5)
    share = OUTPUT_SHARE if grown.config.tie_word_embeddings else 1.0
    assert torch.allclose(matrices(grown)[0][4], share * (before[2] + before[1] + before[0]) / 3)


def test_a_masked_models_biases_grow_like_its_matrices(tmp_path):
    config = ModelConfig(family="bert", depth=1, width=16, heads=2)
    model = build_model(config, vocab_size=6, max_seq_len=16, bos_id=0, eos_id=0, pad_id=0, seed=0)
    bias = dict(model.named_parameters())["cls.predictions.bias"]
    torch.nn.init.normal_(bias, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "model")
    folder = write_tokenizer(tmp_path / "model", VOCAB, MERGES)
    grown = load(folder, write_tokenizer(tmp_path / "more", VOCAB | {"abc": 4, "ca": 6}, [*MERGES, ("ab", "c")]), 7)
    rows = grown.get_input_embeddings().get_parameter("weight")
    outputs = grown.get_output_embeddings()
    assert outputs is not None
    assert outputs.get_parameter("weight") is rows
    found = outputs.get_parameter("bias")
    assert found is grown.get_parameter("cls.predictions.bias")
    assert torch.equal(found[:4], bias[:4])
    assert torch.allclose(found[4], (bias[3] + bias[2]) / 2)
    assert torch.allclose(found[6], (bias[2] + bias[0]) / 2)
    assert grown(input_ids=torch.tensor([[0, 6, 3, 5]])).logits.shape == (1, 4, 7)


def test_the_same_tokenizer_leaves_the_model_as_it_is(folder, tmp_path):
    same = write_tokenizer(tmp_path / "same", VOCAB, MERGES)
    model = load(folder, same, 4)
    assert model.config.vocab_size == 6
    assert all(torch.equal(*pair) for pair in zip(matrices(model), matrices(load(folder, folder, 4)), strict=True))


def test_ids_that_mean_other_text_are_refused(folder, tmp_path):
    moved = write_tokenizer(tmp_path / "moved", {"a": 0, "c": 1, "b": 2, "ab": 3}, MERGES)
    with pytest.raises(
        ValueError, match=r"2 of the 4 tokens of the model .* have another id, or none, .* \('b' first\)"
    ):
        load(folder, moved, 4)
    smaller = write_tokenizer(tmp_path / "smaller", {"a": 0, "b": 1, "c": 2}, [])
    with pytest.raises(ValueError, match=r"1 of the 4 tokens of the model .* \('ab' first\)"):
        load(folder, smaller, 3)


def test_a_folder_without_tokenizer_is_believed(folder, tmp_path):
    (folder / "tokenizer.json").unlink()
    other = write_tokenizer(tmp_path / "other", {"x": 0}, [])
    assert load(folder, other, 6).config.vocab_size == 6
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 6
