"""Each family against the equations of its paper, written here in plain torch; and against its own shape."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel

from gristmill.model.build import build_model, load_model
from gristmill.model.config import ModelConfig
from gristmill.model.shape import Family

SHARDS = {"vocab_size": 50, "max_seq_len": 12, "bos_id": 1, "eos_id": 0, "pad_id": 2}
SIZES: dict[Family, dict] = {
    "qwen3": {"kv_heads": 2, "head_dim": 6, "ffn_width": 40, "rope_theta": 500.0},
    "qwen3_moe": {"kv_heads": 1, "head_dim": 8, "experts": 5, "experts_per_token": 2, "expert_width": 12},
    "llama": {"kv_heads": 2, "head_dim": 8, "ffn_width": 40},
    "gpt2": {"ffn_width": 40},
    "bert": {"ffn_width": 40},
}
FAMILIES: list[Family] = list(SIZES)


def config_of(family: Family, **fields) -> ModelConfig:
    return ModelConfig(family=family, **{"depth": 2, "width": 32, "heads": 4, **SIZES[family], **fields})


def random_model(family: Family, **fields) -> PreTrainedModel:
    """With weights none of which is zero, nor one: a new model's layers do nothing yet."""
    model = build_model(config_of(family, **fields), **SHARDS, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.5 if weight.ndim == 1 else 0.0, 0.2, generator=generator)
    return model.eval()


def tokens() -> Tensor:
    return torch.randint(3, 50, (3, 12), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_forward_pass_is_that_of_the_paper(family):
    model, ids = random_model(family), tokens()
    reference = {"gpt2": gpt2, "bert": bert}.get(family, rotary)
    expected = reference(dict(model.state_dict()), ids, config_of(family))
    found = model(input_ids=ids).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe", "llama", "gpt2"])
def test_a_causal_model_has_as_many_weights_as_its_shape_says(family, tied):
    check_counts(ModelConfig(family=family, depth=3, tie_embeddings=tied))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_with_sizes_of_its_own_has_as_many_weights_as_its_shape_says(family):
    check_counts(config_of(family))


def check_counts(config: ModelConfig) -> None:
    with torch.device("meta"):
        from gristmill.model.families import new_model

        model = new_model(config, vocab_size=50, max_position_embeddings=config.shape.positions(12))
    counts = {name: weight.numel() for name, weight in model.named_parameters()}
    outside = [name for name in counts if "embed" in name or "wte" in name or "wpe" in name or "lm_head" in name]
    vocabulary = sum(counts[name] for name in outside if "LayerNorm" not in name) + counts.get(
        "cls.predictions.bias", 0
    )
    shape = config.shape
    assert shape.parameters(50, 12) == sum(counts.values())
    assert shape.vocabulary_parameters(50, 12) == vocabulary
    assert shape.parameters_without_vocabulary == sum(counts.values()) - vocabulary
    idle = sum(n for name, n in counts.items() if ".experts." in name) if shape.experts else 0
    idle = idle * (shape.experts - shape.experts_per_token) // max(1, shape.experts)
    assert shape.active_parameters(50, 12) == sum(counts.values()) - idle


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_is_loaded_with_the_same_weights_and_sizes(family, tmp_path):
    model, ids = random_model(family), tokens()
    model.save_pretrained(tmp_path)
    again = (AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM).from_pretrained(tmp_path)
    assert type(again) is type(model)
    changing = {"_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype"}
    before, after = (
        {name: value for name, value in each.config.to_dict().items() if name not in changing}
        for each in (model, again)
    )
    assert after == before
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    to_train = load_model(tmp_path, tokenizer=tmp_path, vocab_size=50, max_seq_len=12)
    assert type(to_train) is type(model)
    with pytest.raises(ValueError, match="rows of 13 tokens but the model to start from was made for 12"):
        load_model(tmp_path, tokenizer=tmp_path, vocab_size=50, max_seq_len=13)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_model_passes_embeddings_through_unchanged(family):
    model, ids = build_model(config_of(family), **SHARDS, seed=0).eval(), tokens()
    deep = model(input_ids=ids).logits
    layers = {"gpt2": "transformer.h", "bert": "bert.encoder.layer"}.get(family, "model.layers")
    layer_list = model.get_submodule(layers)
    assert isinstance(layer_list, torch.nn.ModuleList)
    del layer_list[1:]
    model.config.num_hidden_layers = 1
    # BERT normalizes after each layer, so that one more changes the last bits
    torch.testing.assert_close(model(input_ids=ids).logits, deep, atol=1e-5, rtol=0)
    if family != "bert":
        assert not deep.any(), "an output matrix of its own starts at zero"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_model_has_gains_of_one_biases_of_zero_and_matrices_of_variance_one_over_their_inputs(family):
    model = build_model(config_of(family, width=128), **SHARDS, seed=0)
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        if weight.ndim == 1:
            assert (weight == (0 if "bias" in name else 1)).all(), name
    inputs_of = {
        "qwen3": {"model.layers.0.mlp.up_proj.weight": 128},
        "qwen3_moe": {"model.layers.0.mlp.experts.gate_up_proj": 128, "model.layers.0.mlp.gate.weight": 128},
        "llama": {"model.layers.0.self_attn.q_proj.weight": 128},
        "gpt2": {"transformer.h.0.mlp.c_fc.weight": 128, "transformer.h.0.attn.c_attn.weight": 128},
        "bert": {"bert.encoder.layer.0.intermediate.dense.weight": 128, "cls.predictions.transform.dense.weight": 128},
    }[family]
    for name, inputs in inputs_of.items():
        assert weights[name].std().item() == pytest.approx(inputs**-0.5, rel=0.1), name


@pytest.mark.parametrize(
    ("family", "name"), [("gpt2", "transformer.wpe"), ("bert", "bert.embeddings.position_embeddings")]
)
def test_learned_positions_begin_where_a_step_to_the_next_is_one_rotation(family, name):
    config = config_of(family, width=32)
    start = build_model(config, **SHARDS, seed=0).get_submodule(name).get_parameter("weight").detach()
    sines, cosines = start[:, :16], start[:, 16:]
    spread = {"gpt2": 0.5, "bert": 0.02}[family]  # of the tokens' embeddings
    assert start.square().mean().sqrt().item() == pytest.approx(spread, rel=1e-4)
    turned = torch.complex(cosines, sines)
    steps = turned[1:] / turned[:-1]
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=1e-4, rtol=0)
    angles = torch.tensor([10_000 ** (-pair / 16) for pair in range(16)])
    torch.testing.assert_close(steps[0].angle(), angles, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "fields", "complaint"),
    [
        ("gpt2", {"kv_heads": 2}, r"kv_heads=2 is no setting of family=gpt2.*qwen3 or qwen3_moe or llama"),
        ("bert", {"rope_theta": 1e4}, r"rope_theta=10000.0 is no setting of family=bert"),
        ("bert", {"tie_embeddings": False}, r"tie_embeddings=False is no setting of family=bert"),
        ("qwen3", {"experts": 4}, r"experts=4 is no setting of family=qwen3; .*family: qwen3_moe"),
        ("qwen3_moe", {"ffn_width": 4}, r"ffn_width=4 is no setting of family=qwen3_moe"),
        ("gpt2", {"width": 100, "heads": 3}, r"heads=3 does not divide width=100"),
        ("qwen3_moe", {"experts": 2, "experts_per_token": 3}, r"experts_per_token=3 of experts=2"),
    ],
)
def test_sizes_that_a_family_does_not_have_are_refused_by_name(family, fields, complaint):
    with pytest.raises(ValidationError, match=complaint):
        ModelConfig(family=family, **fields)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_configuration_written_out_in_full_is_read_back(family):
    config = config_of(family)
    assert ModelConfig.model_validate(config.model_dump()) == config


def test_a_token_costs_in_a_mixture_what_it_costs_in_the_dense_model():
    dense, mixture = ModelConfig(depth=6).shape, ModelConfig(depth=6, family="qwen3_moe").shape
    assert (mixture.experts, mixture.experts_per_token, mixture.expert_width) == (8, 2, 512)
    routers = 6 * 8 * 384
    assert mixture.active_parameters_without_vocabulary == dense.parameters_without_vocabulary + routers


def test_the_identity_of_the_default_family_has_no_settings_of_the_others():
    sizes = dict.fromkeys(("width", "heads", "kv_heads", "head_dim", "ffn_width"))
    assert ModelConfig(depth=2).identity() == {
        "start": {"kind": "scratch"},
        "family": "qwen3",
        "depth": 2,
        **sizes,
        "tie_embeddings": False,
        "rope_theta": 10_000.0,
    }


# The references. Weights by the names of the checkpoint; B rows, T tokens, D width, H heads, E experts.

Weights = dict[str, Tensor]


def rotary(weights: Weights, ids: Tensor, config: ModelConfig) -> Tensor:
    """Llama (Touvron et al. 2023), Qwen3 (arXiv:2505.09388) and its mixture of experts."""
    shape, x_BTD = config.shape, weights["model.embed_tokens.weight"][ids]
    for layer in range(shape.depth):
        own = under(weights, f"model.layers.{layer}.")
        normed = rms_norm(x_BTD, own["input_layernorm.weight"])
        q, k, v = (normed @ own[f"self_attn.{part}_proj.weight"].T for part in "qkv")
        q, k, v = (part.unflatten(-1, (-1, shape.head_dim)).transpose(1, 2) for part in (q, k, v))
        if config.family != "llama":
            q, k = rms_norm(q, own["self_attn.q_norm.weight"]), rms_norm(k, own["self_attn.k_norm.weight"])
        q, k = rotate(q, config.rotary_base), rotate(k, config.rotary_base)
        shared = shape.heads // shape.kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        x_BTD = x_BTD + attend(q, k, v, causal=True) @ own["self_attn.o_proj.weight"].T
        normed = rms_norm(x_BTD, own["post_attention_layernorm.weight"])
        if config.family == "qwen3_moe":
            x_BTD = x_BTD + mixture(normed, own, experts_per_token=shape.experts_per_token)
        else:
            gate, up = (normed @ own[f"mlp.{part}_proj.weight"].T for part in ("gate", "up"))
            x_BTD = x_BTD + (gate * gate.sigmoid() * up) @ own["mlp.down_proj.weight"].T
    return rms_norm(x_BTD, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def mixture(x_BTD: Tensor, own: Weights, *, experts_per_token: int) -> Tensor:
    """Every expert on every token, weighed by the router's probabilities, which are zero beyond the best ones."""
    probabilities_BTE = torch.softmax(x_BTD @ own["mlp.gate.weight"].T, dim=-1)
    least = probabilities_BTE.sort(dim=-1, descending=True).values[..., experts_per_token - 1 : experts_per_token]
    weights_BTE = probabilities_BTE * (probabilities_BTE >= least)
    weights_BTE = weights_BTE / weights_BTE.sum(dim=-1, keepdim=True)
    result = torch.zeros_like(x_BTD)
    for expert, (gate_up, down) in enumerate(
        zip(own["mlp.experts.gate_up_proj"], own["mlp.experts.down_proj"], strict=True)
    ):
        gate, up = (x_BTD @ half.T for half in gate_up.chunk(2))
        result += weights_BTE[..., expert, None] * ((gate * gate.sigmoid() * up) @ down.T)
    return result


def gpt2(weights: Weights, ids: Tensor, config: ModelConfig) -> Tensor:
    """GPT-2 (Radford et al. 2019): learned positions, norms before, matrices stored [in, out]."""
    own = under(weights, "transformer.")
    x_BTD = own["wte.weight"][ids] + own["wpe.weight"][: ids.shape[1]]
    for layer in range(config.shape.depth):
        block = under(own, f"h.{layer}.")
        normed = layer_norm(x_BTD, block, "ln_1", eps=1e-5)
        parts = (normed @ block["attn.c_attn.weight"] + block["attn.c_attn.bias"]).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (config.shape.heads, -1)).transpose(1, 2) for part in parts)
        x_BTD = x_BTD + attend(q, k, v, causal=True) @ block["attn.c_proj.weight"] + block["attn.c_proj.bias"]
        inner = layer_norm(x_BTD, block, "ln_2", eps=1e-5) @ block["mlp.c_fc.weight"] + block["mlp.c_fc.bias"]
        inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        x_BTD = x_BTD + inner @ block["mlp.c_proj.weight"] + block["mlp.c_proj.bias"]
    return layer_norm(x_BTD, own, "ln_f", eps=1e-5) @ weights["lm_head.weight"].T


def bert(weights: Weights, ids: Tensor, config: ModelConfig) -> Tensor:
    """BERT (arXiv:1810.04805): sees both sides, norms after; tokens are scored by their own embeddings."""
    own = under(weights, "bert.embeddings.")
    x_BTD = own["word_embeddings.weight"][ids] + own["position_embeddings.weight"][: ids.shape[1]]
    x_BTD = layer_norm(x_BTD + own["token_type_embeddings.weight"][0], own, "LayerNorm", eps=1e-12)
    for layer in range(config.shape.depth):
        block = under(weights, f"bert.encoder.layer.{layer}.")
        q, k, v = (
            linear(x_BTD, block, f"attention.self.{part}").unflatten(-1, (config.shape.heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = linear(attend(q, k, v, causal=False), block, "attention.output.dense")
        x_BTD = layer_norm(x_BTD + attended, block, "attention.output.LayerNorm", eps=1e-12)
        inner = linear(gelu(linear(x_BTD, block, "intermediate.dense")), block, "output.dense")
        x_BTD = layer_norm(x_BTD + inner, block, "output.LayerNorm", eps=1e-12)
    head = under(weights, "cls.predictions.")
    x_BTD = layer_norm(gelu(linear(x_BTD, head, "transform.dense")), head, "transform.LayerNorm", eps=1e-12)
    return x_BTD @ own["word_embeddings.weight"].T + head["bias"]


def under(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def attend(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, *, causal: bool) -> Tensor:
    scores_BHTT = q_BHTD @ k_BHTD.transpose(-1, -2) / math.sqrt(q_BHTD.shape[-1])
    if causal:
        later = torch.ones(scores_BHTT.shape[-2:], dtype=torch.bool).triu(1)
        scores_BHTT = scores_BHTT.masked_fill(later, -math.inf)
    return (torch.softmax(scores_BHTT, dim=-1) @ v_BHTD).transpose(1, 2).flatten(-2)


def rotate(x_BHTD: Tensor, theta: float) -> Tensor:
    """Number i and number i + D/2 of a head as one complex number, turned by position · theta^(-2i/D)."""
    first, second = x_BHTD.chunk(2, dim=-1)
    pairs = torch.arange(first.shape[-1])
    angles = torch.arange(x_BHTD.shape[-2])[:, None] * theta ** (-pairs / first.shape[-1])
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    return gain * x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + 1e-6)


def layer_norm(x: Tensor, weights: Weights, name: str, *, eps: float) -> Tensor:
    centered = x - x.mean(dim=-1, keepdim=True)
    scaled = centered / torch.sqrt((centered * centered).mean(dim=-1, keepdim=True) + eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.special.erf(x / math.sqrt(2)))
