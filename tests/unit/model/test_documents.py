"""A packed row whose documents are kept apart gives the losses of each document alone."""

from typing import Any

import pytest
import torch
from transformers import (
    FalconConfig,
    Gemma3ForCausalLM,
    LlamaConfig,
    MistralForCausalLM,
    MptConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3NextConfig,
)

from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import completion_logps
from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.model.documents import document_arguments, positions

IDS = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, -1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])


def test_positions_begin_anew_with_each_document():
    assert positions(IDS).tolist() == [[0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 0], list(range(12))]


def test_the_mask_is_the_same_document_and_what_came_before():
    seen = document_arguments(IDS, LlamaConfig())["attention_mask"]
    assert seen.shape == (2, 1, 12, 12)
    for row, documents in enumerate(IDS.tolist()):
        for query, own in enumerate(documents):
            expected = [other == own and key <= query for key, other in enumerate(documents)]
            assert seen[row, 0, query].tolist() == expected
    both_ways = document_arguments(IDS, LlamaConfig(), causal=False)["attention_mask"]
    assert torch.equal(both_ways, seen | seen.transpose(2, 3))


@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2", "qwen3_moe"])
def test_a_packed_row_gives_the_losses_of_its_documents_alone(family):
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"family": family, "depth": 2, "width": 64, "heads": 4})
    model = build_model(config, vocab_size=50, max_seq_len=12, bos_id=1, eos_id=0, pad_id=2, seed=0).eval()
    check_documents_alone(model)


@pytest.mark.parametrize("family", [MistralForCausalLM, Gemma3ForCausalLM])
def test_layers_that_look_back_a_few_tokens_do_so_within_their_document(family: Any):
    """Mistral's in all layers, Gemma 3's in some: with a window of 3 the documents of 5 and 4 tokens are cut."""
    model = windowed(family)
    check_documents_alone(model)
    mask = document_arguments(IDS[:1], model.config)["attention_mask"]
    seen = mask["sliding_attention"] if isinstance(mask, dict) else mask
    assert seen[0, 0, 4].nonzero()[:, 0].tolist() == [2, 3, 4]
    assert seen[0, 0, 8].nonzero()[:, 0].tolist() == [7, 8]


@pytest.mark.parametrize("family", [MistralForCausalLM, Gemma3ForCausalLM])
def test_answers_behind_one_prompt_are_looked_at_within_the_window(family: Any):
    model = windowed(family)
    rows = [Branches([3, 4, 5, 6, 7], [[8, 9, 10], [11, 12, 13, 14]]), Branches([15, 16], [[17], [18, 19]])]
    alone = []
    for prompt, answer in ((row.prompt, answer) for row in rows for answer in row.completions):
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        alone.append(logits.log_softmax(dim=-1).gather(1, torch.tensor(answer)[:, None]).sum().item())
    together = [logp for row in completion_logps(model, rows) for logp in row]
    assert together == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Qwen3NextConfig(), "qwen3_next has linear_attention"),
        (FalconConfig(alibi=True), "falcon has attention that counts columns"),
        (MptConfig(), "mpt has attention that counts columns"),
    ],
)
def test_attention_that_no_mask_keeps_apart_is_named(config: PreTrainedConfig, message: str):
    with pytest.raises(ValueError, match=message):
        document_arguments(IDS, config)


def windowed(family: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = family.config_class(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=3,
        pad_token_id=0,
    )
    if family is Gemma3ForCausalLM:
        config.layer_types = ["sliding_attention", "full_attention"]
    return family(config).eval()


def check_documents_alone(model: PreTrainedModel) -> None:
    with torch.no_grad():
        for weight in model.parameters():  # a new model's branches are zero, and attention would not show
            weight.normal_(0, 0.3)
        tokens = torch.randint(3, 50, (1, 12))
        packed = model(input_ids=tokens, use_cache=False, **document_arguments(IDS[:1], model.config)).logits[0]
        crossing = model(input_ids=tokens, use_cache=False).logits[0]
        for first, last in ((0, 5), (5, 7), (7, 11)):
            alone = model(input_ids=tokens[:, first:last], use_cache=False).logits[0]
            torch.testing.assert_close(packed[first:last], alone, rtol=1e-4, atol=1e-5)
    assert (packed[5:11] - crossing[5:11]).abs().max() > 0.1, "without the mask documents do see each other"
