import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from tiny_chat_model import CHAT_TEMPLATE, write_tiny_tokenizer
from transformers import (
    AutoTokenizer,
    BertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from gristmill.evaluate.generation import greedy_answers
from gristmill.export.gguf_architecture import architecture
from gristmill.export.gguf_file import tensor_types, write_gguf
from gristmill.export.llama import LlamaCppModel
from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.tokens.extend import extend_tokenizer
from gristmill.tokens.word_split import QWEN2_SPLIT

SIZES: dict[str, Any] = {
    "vocab_size": 328,  # eight rows more than tokens
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
FAMILIES = ["qwen3", "qwen3-tied", "llama", "llama-bias", "gpt2", "qwen3_moe"]
PROMPT = [0, 70, 80, 90, 300, 310, 5, 2, 17]


def build(family: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    own: dict[str, Any] = {
        "qwen3": {"head_dim": 32},
        "qwen3-tied": {"head_dim": 32, "tie_word_embeddings": True},
        "qwen3_moe": {
            "head_dim": 16,
            "moe_intermediate_size": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
        },
        "llama": {},
        "llama-bias": {"attention_bias": True},
        "gpt2": {"vocab_size": 328, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128},
    }[family]
    sizes = (own if family == "gpt2" else SIZES | own) | changes
    model: PreTrainedModel
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**sizes))
    elif family == "qwen3_moe":
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes))
    elif family.startswith("llama"):
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**sizes))
    with torch.no_grad():  # larger than at the start of training, so that every part matters in the logits
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    return model.eval()


def write(model: PreTrainedModel, folder: Path) -> Path:
    folder.mkdir()
    write_tiny_tokenizer(folder)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_computes_the_same_logits_and_greedy_tokens(family: str, tmp_path: Path):
    pytest.importorskip("llama_cpp")
    model = build(family)
    path = tmp_path / "model.gguf"
    write_gguf(write(model, tmp_path / "model"), path, name="tiny", dtype="f32")
    exported = LlamaCppModel(path, context=128, exact_cache=True)
    ids = torch.randint(4, 320, (100,)).tolist()
    expected = model(torch.tensor([ids])).logits[0].detach().numpy()
    # GPT-2's: llama.cpp looks its activation up in a table of float16
    assert np.abs(exported.logits(ids) - expected).max() < (5e-3 if family == "gpt2" else 1e-4)
    (greedy,) = greedy_answers(model, [PROMPT], max_new_tokens=24, stop_ids=())
    assert exported.greedy(PROMPT, max_new_tokens=24) == greedy
    exported.close()


@pytest.mark.parametrize(("dtype", "tolerance"), [("f16", 2e-2), ("bf16", 1e-1)])
def test_narrower_numbers_give_nearly_the_same_logits(dtype: Any, tolerance: float, tmp_path: Path):
    pytest.importorskip("llama_cpp")
    model = build("qwen3")
    path = tmp_path / "model.gguf"
    write_gguf(write(model, tmp_path / "model"), path, name="tiny", dtype=dtype)
    exported = LlamaCppModel(path, context=128)
    ids = torch.randint(4, 320, (100,)).tolist()
    expected = model(torch.tensor([ids])).logits[0].detach().numpy()
    assert np.abs(exported.logits(ids) - expected).max() < tolerance
    exported.close()


TEXTS = [
    "Return the sort of a list, 1234.",
    "It's  the 2nd\n\n\tTHEY'LL see: x = [1,2]; // ok?!\r\n  end ",
    "Ціна 5 €, мова й мови\n 😀 ünï 漢字",
    "<|im_start|>user\nhi<|im_end|>\n",
]


def qwen2_tokenizer(folder: Path) -> None:
    """With the word split that `train_tokenizer` gives."""
    state = json.loads((folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"]["use_regex"] = False
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, state["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(state))


def extended_tokenizer(folder: Path) -> None:
    """With eight tokens more, of Ukrainian."""
    extended = extend_tokenizer(
        folder, ["мова мови мову мовою", "слово слова слову"], scripts=("Cyrillic",), new_tokens=8
    )
    extended.tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("change", [None, qwen2_tokenizer, extended_tokenizer])
def test_llama_cpp_reads_the_same_tokens(change: Any, tmp_path: Path):
    pytest.importorskip("llama_cpp")
    folder = write(build("llama"), tmp_path / "model")
    if change:
        change(folder)
    write_gguf(folder, tmp_path / "model.gguf", name="tiny", dtype="f32")
    exported, tokenizer = LlamaCppModel(tmp_path / "model.gguf", context=64), AutoTokenizer.from_pretrained(folder)
    expected = [tokenizer.encode(text) for text in TEXTS]
    assert [exported.tokens(text) for text in TEXTS] == expected
    assert (max(map(max, expected)) >= 320) == (change is extended_tokenizer)
    exported.close()


def test_metadata_and_numbers_are_those_of_the_folder(tmp_path: Path):
    """Read back by `gguf`'s reader, without llama.cpp."""
    model = build("qwen3-tied")
    folder = write(model, tmp_path / "model")
    write_gguf(folder, tmp_path / "model.gguf", name="tiny", dtype="f16", license="mit")
    reader = GGUFReader(tmp_path / "model.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert fields["general.architecture"] == "qwen3"
    assert fields["general.license"] == "mit"
    assert fields["qwen3.block_count"] == 2
    assert fields["qwen3.attention.head_count_kv"] == 2
    assert fields["qwen3.attention.key_length"] == 32
    assert fields["qwen3.context_length"] == 128
    assert fields["qwen3.rope.freq_base"] == 10_000
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.merges"] == [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert dict(zip(tokens, range(320), strict=False)) == tokenizer["model"]["vocab"]
    assert types == [3] * 4 + [1] * 316 + [5] * 8  # control, normal, unused
    assert (fields["tokenizer.ggml.bos_token_id"], fields["tokenizer.ggml.eos_token_id"]) == (0, 3)
    assert fields["tokenizer.ggml.padding_token_id"] == 1
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.chat_template"] == CHAT_TEMPLATE
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert "output.weight" not in tensors
    embeddings = model.get_input_embeddings().get_parameter("weight").detach()
    assert np.array_equal(tensors["token_embd.weight"], embeddings.half().numpy())
    assert tensors["output_norm.weight"].dtype == np.float32
    assert tensor_types(tmp_path / "model.gguf") == {
        "F16": sum(weight.numel() for weight in model.parameters() if weight.ndim > 1),
        "F32": sum(weight.numel() for weight in model.parameters() if weight.ndim == 1),
    }


@pytest.mark.parametrize(
    ("family", "changes", "setting"),
    [
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob=False"),
        ("qwen3", {"attention_bias": True}, "attention_bias=True"),
        ("llama", {"hidden_act": "relu"}, "hidden_act='relu'"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "rope_type='linear'"),
        ("gpt2", {"activation_function": "gelu"}, "activation_function='gelu'"),
    ],
)
def test_a_setting_that_llama_cpp_computes_otherwise_is_refused(
    family: str, changes: Any, setting: str, tmp_path: Path
):
    folder = write(build(family, **changes), tmp_path / "model")
    with pytest.raises(ValueError, match=setting):
        write_gguf(folder, tmp_path / "model.gguf", name="tiny", dtype="f32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_word_split_that_llama_cpp_lacks_is_refused(tmp_path: Path):
    folder = write(build("qwen3"), tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [{"type": "Whitespace"}, tokenizer["pre_tokenizer"]],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match="is not known to have"):
        write_gguf(folder, tmp_path / "model.gguf", name="tiny", dtype="f32")


def test_numbers_that_float16_cannot_hold_are_refused_and_nothing_is_left(tmp_path: Path):
    model = build("qwen3")
    with torch.no_grad():
        model.get_parameter("model.layers.1.mlp.up_proj.weight")[3, 4] = 70_000.0
    folder = write(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"blk.1.ffn_up.weight has a number of size 7e\+04, too large for f16"):
        write_gguf(folder, tmp_path / "model.gguf", name="tiny", dtype="f16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    write_gguf(folder, tmp_path / "model.gguf", name="tiny", dtype="bf16")


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe", "llama", "gpt2"])
def test_models_as_they_are_built_here_have_the_settings_of_llama_cpp(family: Any):
    config = ModelConfig(family=family, depth=2)
    model = build_model(config, vocab_size=328, max_seq_len=64, bos_id=0, eos_id=3, pad_id=1, seed=0)
    assert architecture(model.config) == family.replace("_", "")


def test_a_masked_model_has_no_gguf():
    with pytest.raises(ValueError, match="model_type 'bert' has no GGUF export here"):
        architecture(BertConfig())
