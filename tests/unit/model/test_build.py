import pytest
import torch

from gristmill.model.build import build_model, load_model
from gristmill.model.config import ModelConfig

TINY = ModelConfig(depth=2, width=32, head_dim=16, ffn_width=48, tie_embeddings=True)
SHARDS = {"vocab_size": 100, "max_seq_len": 16, "bos_id": 1, "eos_id": 0, "pad_id": 2}


def test_a_model_has_as_many_weights_as_its_shape_says():
    model = build_model(TINY, **SHARDS, seed=0)
    attention = 4 * 32 * 32 + 2 * 16  # q, k, v, o; the norms of queries and keys
    feed_forward = 3 * 32 * 48
    layer = attention + feed_forward + 2 * 32
    assert sum(weight.numel() for weight in model.parameters()) == 2 * layer + 32 + 100 * 32


def test_a_new_model_passes_embeddings_through_unchanged():
    model = build_model(TINY, **SHARDS, seed=0)
    tokens = torch.arange(12).reshape(2, 6)
    embeddings = model.model.embed_tokens(tokens)
    expected = model.lm_head(model.model.norm(embeddings))
    assert torch.equal(model(input_ids=tokens).logits, expected)


def test_a_new_model_with_an_output_matrix_of_its_own_holds_all_tokens_equally_likely():
    model = build_model(TINY.model_copy(update={"tie_embeddings": False}), **SHARDS, seed=0)
    assert not model(input_ids=torch.arange(12).reshape(2, 6)).logits.any()


def test_the_seed_and_nothing_else_decides_the_weights():
    def first_matrix(seed):
        torch.rand(3)  # the global generator must not matter
        return dict(build_model(TINY, **SHARDS, seed=seed).named_parameters())["model.layers.0.self_attn.q_proj.weight"]

    assert torch.equal(first_matrix(1), first_matrix(1))
    assert not torch.equal(first_matrix(1), first_matrix(2))


def test_a_model_too_small_for_the_shards_is_refused(tmp_path):
    build_model(TINY, **SHARDS, seed=0).save_pretrained(tmp_path)
    assert load_model(tmp_path, tokenizer=tmp_path, vocab_size=90, max_seq_len=16).config.vocab_size == 100
    with pytest.raises(ValueError, match="101 token ids, the model to start from 100"):
        load_model(tmp_path, tokenizer=tmp_path, vocab_size=101, max_seq_len=16)
    with pytest.raises(ValueError, match="rows of 32 tokens"):
        load_model(tmp_path, tokenizer=tmp_path, vocab_size=100, max_seq_len=32)


def test_a_model_that_comes_with_dropout_trains_without(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=100, n_positions=16, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        tmp_path
    )
    model = load_model(tmp_path, tokenizer=tmp_path, vocab_size=100, max_seq_len=16).train()
    assert model.config.resid_pdrop == 0
    tokens = torch.arange(8)[None]
    assert torch.equal(model(input_ids=tokens).logits, model(input_ids=tokens).logits)
