"""A packed row whose documents are kept apart gives the losses of each document alone."""

import pytest
import torch

from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.model.documents import document_arguments, positions

IDS = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, -1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])


def test_positions_begin_anew_with_each_document():
    assert positions(IDS).tolist() == [[0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 0], list(range(12))]


def test_the_mask_is_the_same_document_and_what_came_before():
    seen = document_arguments(IDS)["attention_mask"]
    assert seen.shape == (2, 1, 12, 12)
    for row, documents in enumerate(IDS.tolist()):
        for query, own in enumerate(documents):
            expected = [other == own and key <= query for key, other in enumerate(documents)]
            assert seen[row, 0, query].tolist() == expected
    both_ways = document_arguments(IDS, causal=False)["attention_mask"]
    assert torch.equal(both_ways, seen | seen.transpose(2, 3))


@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2", "qwen3_moe"])
def test_a_packed_row_gives_the_losses_of_its_documents_alone(family):
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"family": family, "depth": 2, "width": 64, "heads": 4})
    model = build_model(config, vocab_size=50, max_seq_len=12, bos_id=1, eos_id=0, pad_id=2, seed=0).eval()
    with torch.no_grad():
        for weight in model.parameters():  # a new model's branches are zero, and attention would not show
            weight.normal_(0, 0.3)
        tokens = torch.randint(3, 50, (1, 12))
        packed = model(input_ids=tokens, use_cache=False, **document_arguments(IDS[:1])).logits[0]
        crossing = model(input_ids=tokens, use_cache=False).logits[0]
        for first, last in ((0, 5), (5, 7), (7, 11)):
            alone = model(input_ids=tokens[:, first:last], use_cache=False).logits[0]
            torch.testing.assert_close(packed[first:last], alone, rtol=1e-4, atol=1e-5)
    assert (packed[5:11] - crossing[5:11]).abs().max() > 0.1, "without the mask documents do see each other"
