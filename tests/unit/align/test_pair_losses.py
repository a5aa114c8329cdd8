"""Losses of pairs on given numbers are those of the papers, and those of TRL, whose rows repeat the prompt."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from trl import DPOConfig, DPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

from gristmill.align.config import DpoConfig, OrpoConfig
from gristmill.align.dpo_trainer import PairTrainer, pairs_dataset
from gristmill.align.pair_losses import odds_ratio_loss, pair_losses
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import completion_logps

PAIRS = [Branches([0, 5, 6], [[7, 8, 3], [9, 3]]), Branches([0, 9], [[10, 3], [11, 12, 13, 3]])]
LENGTHS = torch.tensor([[3, 2], [2, 4]])
REFERENCE = torch.tensor([[-20.0, -10.0], [-9.0, -30.0]])
LOGPS = torch.tensor([[-6.0, -5.0], [-4.0, -12.0]])
LIKE_TRLS = [
    (DpoConfig(beta=0.1), {"loss_type": "sigmoid"}),
    (DpoConfig(beta=0.5), {"loss_type": "sigmoid"}),
    (DpoConfig(beta=0.5, length_normalized=True), {"loss_type": "sigmoid_norm"}),
    (DpoConfig(beta=0.5, loss="ipo"), {"loss_type": "ipo"}),
    (DpoConfig(beta=0.5, loss="robust", label_noise=0.1), {"loss_type": "robust", "label_smoothing": 0.1}),
]


class TrlTrainer(DPOTrainer):
    """TRL's own loss and forward pass, for pairs that come tokenized."""

    def _prepare_dataset(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset


@pytest.mark.parametrize(
    ("config", "theirs"), LIKE_TRLS, ids=lambda value: value.get("loss_type") if isinstance(value, dict) else ""
)
def test_loss_and_gradient_are_trls(config: DpoConfig, theirs: dict[str, Any], tiny_model: Path, tmp_path: Path):
    loss, gradients = trained(tiny_model, lambda policy: ours(policy, config, tiny_model, tmp_path))
    expected, expected_gradients = trained(
        tiny_model, lambda policy: trls(policy, config, theirs, tiny_model, tmp_path)
    )
    assert loss == pytest.approx(expected, abs=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5, rtol=1e-4)


def test_a_pass_computes_the_prompt_once(tiny_model: Path, tmp_path: Path):
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    seen: list[int] = []
    policy.base_model.register_forward_pre_hook(
        lambda module, arguments, named: seen.append(named["input_ids"].numel()), with_kwargs=True
    )
    ours(policy, DpoConfig(), tiny_model, tmp_path)
    assert seen == [2 * (3 + 3 + 2)]  # two rows as long as the longest, 2 + 2 + 4 or 3 + 3 + 2


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_pass_is_in_the_precision_that_was_asked_for(precision: str, tiny_model: Path, tmp_path: Path):
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    seen: set[torch.dtype] = set()
    linear = next(layer for layer in policy.modules() if isinstance(layer, torch.nn.Linear))
    linear.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    ours(policy, DpoConfig(), tiny_model, tmp_path, bf16=precision == "bf16")
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}


def test_dpo_is_that_of_the_paper():
    """−ln σ(β · ((π chosen − ref chosen) − (π rejected − ref rejected))); Rafailov et al. 2023, eq. 7."""
    found = pair_losses(LOGPS, REFERENCE, LENGTHS, DpoConfig(beta=0.5))
    assert found.tolist() == pytest.approx([-math.log(sigmoid(0.5 * (14 - 5))), -math.log(sigmoid(0.5 * (5 - 18)))])


def test_dpo_per_token_and_ipo_compare_means_over_tokens():
    """IPO: (h − 1/(2β))², Azar et al. 2023, eq. 17, h per token as the authors' code has it."""
    margins = [14 / 3 - 5 / 2, 5 / 2 - 18 / 4]
    per_token = pair_losses(LOGPS, REFERENCE, LENGTHS, DpoConfig(beta=5.0, length_normalized=True))
    assert per_token.tolist() == pytest.approx([-math.log(sigmoid(5 * margin)) for margin in margins], rel=1e-5)
    ipo = pair_losses(LOGPS, REFERENCE, LENGTHS, DpoConfig(beta=0.5, loss="ipo"))
    assert ipo.tolist() == pytest.approx([(margin - 1.0) ** 2 for margin in margins], rel=1e-5)


def test_robust_dpo_takes_out_what_wrong_labels_add():
    """((1−ε) L(right) − ε L(flipped)) / (1−2ε), Chowdhury et al. 2024, arXiv:2403.00409, eq. 12."""
    found = pair_losses(LOGPS, REFERENCE, LENGTHS, DpoConfig(beta=0.5, loss="robust", label_noise=0.1))
    margins = [0.5 * 9, 0.5 * -13]
    expected = [(-0.9 * math.log(sigmoid(margin)) + 0.1 * math.log(sigmoid(-margin))) / 0.8 for margin in margins]
    assert found.tolist() == pytest.approx(expected)


def test_the_chosen_answers_own_loss_is_added_per_token():
    plain, more = (pair_losses(LOGPS, REFERENCE, LENGTHS, DpoConfig(chosen_nll_weight=weight)) for weight in (0.0, 0.5))
    assert (more - plain).tolist() == pytest.approx([0.5 * 6 / 3, 0.5 * 4 / 2])


def test_at_the_start_nothing_is_preferred():
    assert pair_losses(LOGPS, LOGPS, LENGTHS, DpoConfig(beta=0.3)).tolist() == pytest.approx([math.log(2)] * 2)
    ipo = pair_losses(LOGPS, LOGPS, LENGTHS, DpoConfig(beta=0.25, loss="ipo"))
    assert ipo.tolist() == pytest.approx([4.0] * 2)


def test_orpos_margin_is_logged_per_token_as_its_loss_has_it(tiny_model: Path, tmp_path: Path):
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    trainer = pair_trainer(policy, OrpoConfig(beta=0.25), tiny_model, tmp_path)
    trainer.compute_loss(policy, trainer.data_collator(trainer.train_dataset.to_list()))
    per_token = np.array(completion_logps(policy, PAIRS)) / LENGTHS.numpy()
    (margin,) = trainer._metrics["train"]["rewards/margins"]
    assert margin == pytest.approx(0.25 * (per_token[:, 0] - per_token[:, 1]).mean(), abs=1e-5)


def test_orpo_is_the_chosen_answers_loss_and_an_odds_ratio():
    expected = []
    for logps, lengths in zip(LOGPS.tolist(), LENGTHS.tolist(), strict=True):
        p = [math.exp(logp / tokens) for logp, tokens in zip(logps, lengths, strict=True)]
        log_odds_ratio = math.log(p[0] / (1 - p[0])) - math.log(p[1] / (1 - p[1]))
        expected.append(-logps[0] / lengths[0] - 0.25 * math.log(sigmoid(log_odds_ratio)))
    found = pair_losses(LOGPS, REFERENCE, LENGTHS, OrpoConfig(beta=0.25))
    assert found.tolist() == pytest.approx(expected)


def test_the_odds_ratio_is_trls():
    chosen, rejected = torch.tensor([-0.5, -2.0, -1e-3]), torch.tensor([-1.0, -0.1, -3.0])
    theirs = ORPOTrainer.odds_ratio_loss(
        SimpleNamespace(beta=1.0, accelerator=SimpleNamespace(device="cpu")),  # pyright: ignore[reportArgumentType]
        chosen,  # pyright: ignore[reportArgumentType]
        rejected,  # pyright: ignore[reportArgumentType]
    )[0]
    assert torch.allclose(odds_ratio_loss(chosen, rejected), -theirs, atol=1e-6)


def trained(folder: Path, loss_of: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """A loss of the policy in a folder, and its gradient."""
    policy = AutoModelForCausalLM.from_pretrained(folder)
    loss = loss_of(policy)
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in policy.named_parameters() if weight.grad is not None}


def ours(policy: PreTrainedModel, config: DpoConfig, folder: Path, out: Path, *, bf16: bool = False) -> torch.Tensor:
    trainer = pair_trainer(policy, config, folder, out, bf16=bf16)
    return trainer.compute_loss(policy, trainer.data_collator(trainer.train_dataset.to_list()))


def pair_trainer(policy: PreTrainedModel, config: Any, folder: Path, out: Path, *, bf16: bool = False) -> Any:
    rows = pairs_dataset(PAIRS, REFERENCE.numpy().astype(np.float64))
    return PairTrainer(policy, config, train_dataset=rows, **_arguments(folder, out, bf16=bf16))


def trls(policy: PreTrainedModel, config: DpoConfig, settings: dict[str, Any], folder: Path, out: Path) -> torch.Tensor:
    rows = [
        {
            "prompt_ids": pair.prompt,
            "chosen_ids": pair.completions[0],
            "rejected_ids": pair.completions[1],
            "ref_chosen_logps": reference[0],
            "ref_rejected_logps": reference[1],
        }
        for pair, reference in zip(PAIRS, REFERENCE.tolist(), strict=True)
    ]
    arguments = _arguments(folder, out, beta=config.beta, **settings)
    trainer = TrlTrainer(policy, train_dataset=Dataset.from_list(rows), **arguments)
    loss = trainer.compute_loss(policy, trainer.data_collator(rows))
    assert isinstance(loss, torch.Tensor)
    return loss


def _arguments(folder: Path, out: Path, *, bf16: bool = False, **settings: Any) -> dict[str, Any]:
    given = DPOConfig(
        output_dir=str(out),
        bf16=bf16,
        use_cpu=True,
        report_to="none",
        gradient_checkpointing=False,
        precompute_ref_log_probs=True,
        **settings,
    )
    return {"args": given, "processing_class": AutoTokenizer.from_pretrained(folder)}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
