"""Pretraining of every family: it learns, and a run that was stopped ends with the same bits."""

import numpy as np
import pytest
import torch
from test_trainer import ALONE, StopBefore, finished, logged
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from gristmill.evaluate.bits_per_byte import bits_of, masked_tokens, nats_and_bytes
from gristmill.evaluate.checkpoints import load_model
from gristmill.model.config import ModelConfig
from gristmill.report import Report
from gristmill.tokens.masking import Masking
from gristmill.tokens.reader import TokenShards
from gristmill.train.loader import BatchLoader
from gristmill.train.objective import StepLoss
from gristmill.train.trainer import Trainer

MASK = 3
FAMILIES = ["llama", "gpt2", "bert", "qwen3_moe"]
SHORT = {"tokens": 60 * 4 * 12, "batch_rows": 4, "micro_rows": 4}
LONG_ENOUGH = {
    "llama": SHORT,
    "gpt2": SHORT,
    "qwen3_moe": SHORT,
    # it learns from two tokens a row, by embeddings that are its output matrix too
    "bert": {"tokens": 120 * 16 * 12, "batch_rows": 16, "micro_rows": 16, "optim": {"lr_embedding": 0.01}},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns(run_of, tmp_path, family):
    # a row counts up from a random token: it can be known all but for its first token
    finished(run_of(family, **LONG_ENOUGH[family], eval_every_steps=1000), tmp_path)
    losses = logged(tmp_path, "loss")
    assert losses[0] == pytest.approx(np.log(40), abs=0.5)
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_run_of_every_family_ends_with_the_same_bits(run_of, tmp_path, family):
    run = run_of(family)
    straight = finished(run, tmp_path / "straight")
    (tmp_path / "stopped").mkdir()
    assert not Trainer(run, tmp_path / "stopped", ALONE).train(StopBefore(3))
    assert finished(run, tmp_path / "stopped") == straight
    assert logged(tmp_path / "stopped", "loss") == logged(tmp_path / "straight", "loss")


@pytest.mark.parametrize("family", ["qwen3_moe", "llama"])
def test_training_goes_on_from_an_earlier_model_of_its_family(run_of, tmp_path, family):
    first = tmp_path / "first"
    finished(run_of(family, **LONG_ENOUGH[family]), first)
    start = ModelConfig.model_validate({"start": {"kind": "open", "path": str(first)}})
    rows = LONG_ENOUGH[family]["batch_rows"]
    finished(run_of(family, batch_rows=rows).model_copy(update={"model": start, "start": first}), tmp_path / "second")
    assert logged(tmp_path / "second", "loss")[0] < logged(first, "loss")[0] - 0.1


def test_micro_batches_see_the_balance_of_the_whole_batch(run_of, tmp_path):
    still = {"lr_matrix": 1e-9, "lr_embedding": 1e-9, "lr_norm": 1e-9, "lr_head": 1e-9}
    for name, micro_rows in (("whole", 4), ("pieces", 1)):
        finished(run_of("qwen3_moe", {"balance_weight": 5.0}, micro_rows=micro_rows, optim=still), tmp_path / name)
    for name in ("loss", "grad_norm", "balance_loss", "expert_share_max", "expert_share_min", "expert_entropy"):
        assert logged(tmp_path / "pieces", name) == pytest.approx(logged(tmp_path / "whole", name), rel=1e-5), name


def test_a_mixture_whose_activations_are_computed_twice_is_balanced_the_same(run_of, tmp_path):
    run = run_of("qwen3_moe", {"balance_weight": 1.0})
    thrifty = run.resources.model_copy(update={"activation_checkpointing": True})
    finished(run, tmp_path / "plain")
    finished(run.model_copy(update={"resources": thrifty}), tmp_path / "thrifty")
    for name in ("loss", "grad_norm", "balance_loss"):
        assert logged(tmp_path / "thrifty", name) == pytest.approx(logged(tmp_path / "plain", name), rel=1e-5), name


def test_without_the_count_beforehand_micro_batches_would_give_another_gradient(run_of, tmp_path, monkeypatch):
    """What the forward pass that counts is for."""

    def gradient() -> torch.Tensor:
        trainer = Trainer(run_of("qwen3_moe", {"balance_weight": 5.0}, micro_rows=1), tmp_path, ALONE)
        kept: list[torch.Tensor] = []
        router = dict(trainer.model.named_parameters())["model.layers.1.mlp.gate.weight"]
        monkeypatch.setattr(
            trainer.optimizers,
            "step",
            lambda **_: kept.append(router.grad.clone()),  # pyright: ignore[reportOptionalMemberAccess]
        )
        trainer._step(1.0)
        return kept[0]

    exact = gradient()

    of = StepLoss.of

    def by_its_own_counts(self: StepLoss, *piece) -> tuple[torch.Tensor, torch.Tensor]:
        self.counts_LE = None
        return of(self, *piece)

    monkeypatch.setattr(StepLoss, "of", by_its_own_counts)
    assert (gradient() - exact).norm() > 0.05 * exact.norm()


def test_a_masked_model_is_measured_under_a_name_of_its_own_and_loads_as_a_classifier(run_of, tmp_path):
    run = run_of("bert")
    finished(run, tmp_path)
    shards = TokenShards(run.tokens)
    result = Report.model_validate_json((tmp_path / "result.json").read_text()).metrics
    assert "bits_per_byte" not in result
    model = AutoModelForMaskedLM.from_pretrained(tmp_path)
    asked = masked_tokens(Masking.of(shards, mask_id=MASK))
    nats, text_bytes = nats_and_bytes(model, shards, "validation", rows=range(5), examples=asked)
    # of 4 rows of 12 text tokens 2 each are hidden, of the padded one with 6 the one
    assert text_bytes == 4 * 2 + 1
    assert result["masked_bits_per_byte"] == pytest.approx(bits_of(nats, text_bytes), abs=1e-6)
    assert len(logged(tmp_path, "masked_bits_per_byte")) == 3
    assert model.config.max_position_embeddings == 13, "the whole row, its first token included"
    assert AutoTokenizer.from_pretrained(tmp_path).mask_token_id == MASK
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    assert classifier(input_ids=torch.tensor([[1, 5, 6]])).logits.shape == (1, 3)


def test_a_masked_model_is_refused_where_text_has_to_be_generated(run_of, tmp_path):
    finished(run_of("bert"), tmp_path)
    with pytest.raises(ValueError, match="fills in masked tokens, it generates no text"):
        load_model(tmp_path, torch.device("cpu"))


def test_a_tokenizer_without_a_mask_token_is_refused_before_training(make_run, tmp_path):
    run = make_run().model_copy(update={"model": ModelConfig(family="bert", depth=1, width=16)})
    with pytest.raises(ValueError, match="names no mask_token"):
        Trainer(run, tmp_path, ALONE)


def test_processes_hide_the_same_tokens_as_one(run_of, tmp_path):
    trainer = Trainer(run_of("bert"), tmp_path, ALONE)

    def examples(rank: int, world: int) -> tuple[torch.Tensor, torch.Tensor]:
        loader = BatchLoader(trainer.shards, batch_rows=4, seed=0, rank=rank, world=world)
        return trainer.objective.examples(loader.read(3), numbers=loader.my_row_indices(3), step=3)

    for whole, *parts in zip(examples(0, 1), examples(0, 2), examples(1, 2), strict=True):
        assert torch.equal(torch.cat(parts), whole)
