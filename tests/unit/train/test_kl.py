"""What holds a model to its start: only where the start can be asked, and zero where nothing has moved."""

import json
import math

import pytest
import torch

from gristmill.metrics import read_metrics
from gristmill.model.config import ModelConfig
from gristmill.train.interrupts import StopRequest
from gristmill.train.kl import comparable, summed_kl
from gristmill.train.ranks import Ranks
from gristmill.train.trainer import Trainer

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
BOS, NEW = 1, 10


def test_the_start_is_asked_until_its_document_holds_a_token_that_is_new_to_it():
    rows = torch.tensor([[BOS, 4, 5, NEW, 6, BOS, 7, 8], [4, NEW + 1, 5, BOS, NEW, BOS, 3, -100]])
    counted = comparable(rows[:, :-1].clamp_min(0), rows[:, 1:], bos_id=BOS, own_tokens=NEW)
    # targets:           4     5     NEW    6      BOS    7     8
    assert counted[0].tolist() == [True, True, False, False, False, True, True]
    # targets:           NEW+1  5      BOS    NEW    BOS    3     padding
    assert counted[1].tolist() == [False, False, False, False, False, True, False]


def test_a_vocabulary_that_did_not_grow_counts_everything_but_document_starts():
    rows = torch.tensor([[BOS, 4, 5, BOS, 6]])
    counted = comparable(rows[:, :-1], rows[:, 1:], bos_id=BOS, own_tokens=NEW)
    assert counted.tolist() == [[True, True, False, True]]


def test_the_divergence_is_that_of_the_old_vocabulary_alone():
    start = torch.log(torch.tensor([[0.5, 0.25, 0.25, 0.9], [0.5, 0.25, 0.25, 0.9], [9.0, 1.0, 1.0, 1.0]]))
    model = torch.log(torch.tensor([[0.25, 0.5, 0.25, 5.0], [1.0, 0.5, 0.5, 0.1], [1.0, 9.0, 1.0, 1.0]]))
    counted = torch.tensor([True, True, False])
    # 1/2 ln(2) + 1/4 ln(1/2) of the first; the second is the same distribution over the first three tokens
    expected = 0.5 * math.log(2) - 0.25 * math.log(2)
    assert summed_kl(model, start, counted, own_tokens=3).item() == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def goes_on(make_run, tmp_path):
    """A run that starts from a finished one; keyword arguments replace fields of its configuration."""
    first = tmp_path / "first"
    first.mkdir()
    trainer = Trainer(make_run(), first, ALONE)
    assert trainer.train(StopRequest())
    trainer.finish()
    start = ModelConfig.model_validate({"start": {"kind": "artifact", "artifact": "checkpoint/pretrain-0"}})

    def make(**fields):
        return make_run(**fields).model_copy(update={"start": first, "model": start})

    return make


def distances(run, out):
    out.mkdir()
    assert Trainer(run, out, ALONE).train(StopRequest())
    return [row["kl_to_start"] for row in read_metrics(out / "metrics.jsonl") if "kl_to_start" in row]


def test_a_weight_on_the_divergence_keeps_a_model_nearer_to_its_start(goes_on, tmp_path):
    free = distances(goes_on(kl_to_start=1e-9, tokens=60 * 48, checkpoint_every_s=60), tmp_path / "free")
    held = distances(goes_on(kl_to_start=100.0, tokens=60 * 48, checkpoint_every_s=60), tmp_path / "held")
    assert free[0] == held[0] == pytest.approx(0.0, abs=1e-6)
    assert held[-1] < free[-1] / 2


def test_a_run_that_goes_on_says_what_it_knew_at_its_start(goes_on, tmp_path):
    out = tmp_path / "second"
    out.mkdir()
    trainer = Trainer(goes_on(), out, ALONE)
    assert trainer.train(StopRequest())
    trainer.finish()
    rows = [row for row in read_metrics(out / "metrics.jsonl") if "bits_per_byte" in row]
    assert [row["step"] for row in rows] == [0, 3, 6, 8]
    ends = [row for row in read_metrics(tmp_path / "first" / "metrics.jsonl") if "bits_per_byte" in row]
    for name in ("bits_per_byte", "bits_per_byte_language_uk", "bits_per_byte_language_en"):
        assert rows[0][name] == pytest.approx(ends[-1][name], abs=1e-6)
    result = json.loads((out / "result.json").read_text())["metrics"]
    assert result["bits_per_byte_language_uk_at_start"] == rows[0]["bits_per_byte_language_uk"]


def test_only_embeddings_move_in_the_first_steps(goes_on, tmp_path):
    out = tmp_path / "second"
    out.mkdir()
    trainer = Trainer(goes_on(embeddings_first_steps=8), out, ALONE)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    assert trainer.train(StopRequest())
    moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {"model.embed_tokens.weight", "lm_head.weight"} & before.keys()


def test_scratch_has_no_start_to_hold_on_to(make_run, tmp_path):
    with pytest.raises(ValueError, match="no model to hold on to"):
        Trainer(make_run(kl_to_start=0.1), tmp_path, ALONE)
