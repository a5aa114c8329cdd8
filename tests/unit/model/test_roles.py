import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from gristmill.model.roles import fan_in, parameter_role


def roles(model: PreTrainedModel) -> dict[str, str]:
    """Role of each weight of the first layer and around the layers, without the number of the layer."""
    return {name.replace(".0.", "."): parameter_role(name, weight) for name, weight in model.named_parameters()}


def on_meta(model_class: type[PreTrainedModel], config) -> PreTrainedModel:
    with torch.device("meta"):
        return model_class(config)


def test_a_stack_of_experts_is_a_matrix_and_a_router_a_head():
    config = Qwen3MoeConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        moe_intermediate_size=8,
        num_experts=4,
        tie_word_embeddings=False,
    )
    found = roles(on_meta(Qwen3MoeForCausalLM, config))
    others = {name: role for name, role in found.items() if role != "norm"}
    assert others == {
        "model.embed_tokens.weight": "embedding",
        **{f"model.layers.self_attn.{part}_proj.weight": "matrix" for part in "qkvo"},
        "model.layers.mlp.gate.weight": "head",
        "model.layers.mlp.experts.gate_up_proj": "matrix",
        "model.layers.mlp.experts.down_proj": "matrix",
        "lm_head.weight": "head",
    }
    assert all("norm" in name for name in found.keys() - others.keys())


def test_positions_are_embeddings_and_biases_go_with_the_norms():
    found = roles(on_meta(GPT2LMHeadModel, GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=20, n_positions=8)))
    assert {name for name, role in found.items() if role == "embedding"} == {
        "transformer.wte.weight",
        "transformer.wpe.weight",
    }
    assert {name for name, role in found.items() if role == "matrix"} == {
        f"transformer.h.{layer}.weight" for layer in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert {name for name, role in found.items() if role == "norm"} == {
        name for name in found if name.endswith("bias") or ".ln_" in name
    }


@pytest.mark.parametrize("tied", [True, False])
def test_what_reads_a_masked_token_is_a_head_where_it_is_a_matrix_of_its_own(tied):
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        tie_word_embeddings=tied,
    )
    found = roles(on_meta(BertForMaskedLM, config))
    heads = [name for name, role in found.items() if role == "head"]
    assert heads == ([] if tied else ["cls.predictions.decoder.weight"])
    assert [name.split(".")[-2] for name, role in found.items() if role == "embedding"] == [
        *("word_embeddings", "position_embeddings", "token_type_embeddings")
    ]


def test_inputs_are_counted_along_the_axis_that_holds_them():
    assert fan_in("transformer.h.0.mlp.c_fc.weight", torch.empty(16, 64)) == 16
    assert fan_in("model.layers.0.mlp.up_proj.weight", torch.empty(64, 16)) == 16
    assert fan_in("model.layers.0.mlp.experts.down_proj", torch.empty(4, 16, 8)) == 8
