"""What llama.cpp needs to know of an architecture: its name and sizes, and how each of its tensors lies in memory.

Names of tensors come from the package `gguf`. Three layouts differ: rotary halves of a Llama's queries and keys are
interleaved, GPT-2's matrices are transposed, and a layer's experts are one tensor.
A setting that llama.cpp has no place for is refused, since the exported model would compute something else.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import gguf
import torch
from gguf import MODEL_ARCH, GGUFWriter
from torch import Tensor
from transformers import PreTrainedConfig

from gristmill.export.weights import Weights

ARCHITECTURES = {
    "qwen3": MODEL_ARCH.QWEN3,
    "qwen3_moe": MODEL_ARCH.QWEN3MOE,
    "llama": MODEL_ARCH.LLAMA,
    "gpt2": MODEL_ARCH.GPT2,
}
_EXPERT = re.compile(r"(.*\.mlp\.experts)\.(\d+)\.(\w+_proj\.weight)")
_LLAMA_HALVES = re.compile(r".*\.self_attn\.([qk])_proj\.(weight|bias)")
_GPT2_MATRIX = re.compile(r".*\.(c_attn|c_proj|c_fc)\.weight")


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor by its name in a GGUF file; `load` reads it, shape as here."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], Tensor]


def architecture(config: PreTrainedConfig) -> str:
    """llama.cpp's name. Raises ValueError for a family, or a setting of one, that cannot be exported."""
    if config.model_type not in ARCHITECTURES:
        raise ValueError(
            f"model_type {config.model_type!r} has no GGUF export here; there are {', '.join(ARCHITECTURES)}"
        )
    for setting, (found, expected) in _settings(config).items():
        if found not in expected:
            raise ValueError(
                f"the model has {setting}={found!r} and llama.cpp's {config.model_type} computes with "
                f"{' or '.join(map(repr, expected))}: its GGUF would be another model; export to hf"
            )
    return gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]]


def _settings(config: PreTrainedConfig) -> dict[str, tuple[object, tuple[object, ...]]]:
    """Setting → what the model has, and what llama.cpp takes for granted."""
    if config.model_type == "gpt2":
        return {
            "activation_function": (config.activation_function, ("gelu_new", "gelu_pytorch_tanh")),
            "scale_attn_weights": (config.scale_attn_weights, (True,)),
            "scale_attn_by_inverse_layer_idx": (config.scale_attn_by_inverse_layer_idx, (False,)),
        }
    settings = {
        "hidden_act": (config.hidden_act, ("silu",)),
        "rope_type": (config.rope_parameters["rope_type"], ("default",)),
        "use_sliding_window": (getattr(config, "use_sliding_window", False), (False,)),
    }
    if config.model_type != "llama":
        settings["attention_bias"] = (config.attention_bias, (False,))
    if config.model_type == "qwen3_moe":
        settings["norm_topk_prob"] = (config.norm_topk_prob, (True,))
        settings["decoder_sparse_step"] = (config.decoder_sparse_step, (1,))
        settings["mlp_only_layers"] = (tuple(config.mlp_only_layers), ((),))
    return settings


def add_sizes(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """Write the sizes of the architecture into a file's metadata."""
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.model_type == "qwen3_moe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def tensors(weights: Weights, config: PreTrainedConfig) -> Iterator[GGUFTensor]:
    """Every tensor as llama.cpp wants it. Raises ValueError for one that it has no place for."""
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    experts: dict[str, dict[int, str]] = {}
    for name, shape in weights.shapes.items():
        expert = _EXPERT.fullmatch(name)
        if expert:
            experts.setdefault(f"{expert[1]}.{expert[3]}", {})[int(expert[2])] = name
            continue
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue  # llama.cpp takes the embeddings where there is no output matrix
        load = partial(weights.read, name)
        halves = _LLAMA_HALVES.fullmatch(name) if config.model_type == "llama" else None
        if halves:
            heads = config.num_attention_heads if halves[1] == "q" else config.num_key_value_heads
            load = partial(_interleaved, load, heads)
        if config.model_type == "gpt2" and _GPT2_MATRIX.fullmatch(name):
            load, shape = partial(_transposed, load), shape[::-1]
        yield GGUFTensor(_gguf_name(names, name), shape, load)
    for name, by_number in experts.items():
        members = [by_number[number] for number in range(config.num_experts)]
        shape = (len(members), *weights.shapes[members[0]])
        yield GGUFTensor(_gguf_name(names, name), shape, partial(_stacked, weights, members))


def _gguf_name(names: gguf.TensorNameMap, name: str) -> str:
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise ValueError(f"llama.cpp's architecture has no place for the tensor {name}; export to hf")
    return found


def _interleaved(load: Callable[[], Tensor], heads: int) -> Tensor:
    """Rows of each head from (all first halves, all second halves) to pairs, which llama.cpp's rotation turns."""
    tensor = load()
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def _transposed(load: Callable[[], Tensor]) -> Tensor:
    return load().T.contiguous()


def _stacked(weights: Weights, names: list[str]) -> Tensor:
    return torch.stack([weights.read(name) for name in names])
