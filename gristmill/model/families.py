"""New models of each family, as the transformers classes that Hugging Face, vLLM and llama.cpp load.

Training draws no random numbers, so that it resumes bit by bit: every dropout is zero.
"""

from collections.abc import Callable
from typing import Any

from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from gristmill.model.config import ModelConfig
from gristmill.model.shape import Family


def new_model(config: ModelConfig, **facts: int) -> PreTrainedModel:
    """A model of this shape in float32. facts: vocab_size, max_position_embeddings and the special tokens' ids."""
    return _CLASSES[config.family](config, facts)


def describe_sizes(config: PreTrainedConfig) -> str:
    """What a model's configuration comes to, for a person to read."""
    sizes = f"{config.num_hidden_layers} layers × {config.hidden_size}, {config.num_attention_heads} heads, "
    if isinstance(config, Qwen3MoeConfig):
        return sizes + (
            f"{config.num_experts_per_tok} of {config.num_experts} experts × {config.moe_intermediate_size} per token"
        )
    inner = config.n_inner or 4 * config.hidden_size if isinstance(config, GPT2Config) else config.intermediate_size
    return f"{sizes}feed-forward {inner}"


def _qwen3(config: ModelConfig, facts: dict[str, Any]) -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**_rotary(config), intermediate_size=config.shape.ffn_width, **facts))


def _qwen3_moe(config: ModelConfig, facts: dict[str, Any]) -> PreTrainedModel:
    shape = config.shape
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **_rotary(config),
            intermediate_size=shape.ffn_width,  # of layers without experts, of which there are none
            moe_intermediate_size=shape.expert_width,
            num_experts=shape.experts,
            num_experts_per_tok=shape.experts_per_token,
            norm_topk_prob=True,
            router_aux_loss_coef=config.balance,
            **facts,
        )
    )


def _llama(config: ModelConfig, facts: dict[str, Any]) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_rotary(config), intermediate_size=config.shape.ffn_width, **facts))


def _rotary(config: ModelConfig) -> dict[str, Any]:
    shape = config.shape
    return {
        "num_hidden_layers": shape.depth,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "tie_word_embeddings": shape.tie_embeddings,
        "dtype": "float32",
    }


def _gpt2(config: ModelConfig, facts: dict[str, Any]) -> PreTrainedModel:
    shape = config.shape
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=shape.depth,
            n_embd=shape.width,
            n_head=shape.heads,
            n_inner=shape.ffn_width,
            n_positions=facts.pop("max_position_embeddings"),
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=shape.tie_embeddings,
            dtype="float32",
            **facts,
        )
    )


def _bert(config: ModelConfig, facts: dict[str, Any]) -> PreTrainedModel:
    shape = config.shape
    return BertForMaskedLM(
        BertConfig(
            num_hidden_layers=shape.depth,
            hidden_size=shape.width,
            num_attention_heads=shape.heads,
            intermediate_size=shape.ffn_width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            tie_word_embeddings=True,
            dtype="float32",
            **facts,
        )
    )


_CLASSES: dict[Family, Callable[[ModelConfig, dict[str, Any]], PreTrainedModel]] = {
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "llama": _llama,
    "gpt2": _gpt2,
    "bert": _bert,
}
