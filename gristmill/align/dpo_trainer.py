"""TRL's DPO trainer with a forward pass of our own, in which both answers of a pair share their prompt.

TRL 1.16 computes the prompt once for each answer, and has ORPO in its experimental part only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from trl import DPOTrainer

from gristmill.align.config import DpoConfig, OrpoConfig
from gristmill.align.online.token_logps import score_tokens
from gristmill.align.pair_losses import pair_losses
from gristmill.evaluate.branches import Branches


class PairTrainer(DPOTrainer):
    """Learns from a `pairs_dataset`; the configuration says with which loss.

    The two steps left out are TRL 1.16's own preparation. Its arguments must say `precompute_ref_log_probs`, so that
    it neither loads nor copies a reference model; those of its loss are not read.
    """

    def __init__(self, policy: PreTrainedModel, config: DpoConfig | OrpoConfig, **arguments: Any) -> None:
        super().__init__(policy, data_collator=_batch, **arguments)
        self.config = config

    def _prepare_dataset(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # transformers would count `input_ids`, and nobody reads it

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean over the pairs of a forward pass."""
        # accelerate's own autocast would turn all logits into float32, and an adapter's `forward` is not called
        policy: Any = self.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        policy = policy.get_base_model() if isinstance(policy, PeftModel) else policy
        reference_P2, lengths_P2 = inputs["reference_P2"], inputs["lengths_P2"]
        with self.accelerator.autocast():
            scored = score_tokens(policy, inputs["pairs"], longest=int(lengths_P2.max()))
        logps_P2 = scored.logps_CT.sum(dim=1).view(-1, 2)
        self._note(logps_P2.detach(), reference_P2, lengths_P2)
        loss = pair_losses(logps_P2, reference_P2, lengths_P2, self.config).mean()
        return (loss, {}) if return_outputs else loss

    def _note(self, logps_P2: Tensor, reference_P2: Tensor, lengths_P2: Tensor) -> None:
        """What the trainer logs beside the loss, under TRL's names."""
        is_orpo = isinstance(self.config, OrpoConfig)  # its reward is a probability per token, no change of one
        rewards_P2 = logps_P2 / lengths_P2 if is_orpo else logps_P2 - reference_P2
        margins_P = rewards_P2[:, 0] - rewards_P2[:, 1]
        metrics = self._metrics["train"]  # nothing is measured in between
        metrics["rewards/accuracies"].append((margins_P > 0).float().mean().item())
        metrics["rewards/margins"].append(self.config.beta * margins_P.mean().item())
        metrics["logps/chosen"].append(logps_P2[:, 0].mean().item())
        metrics["logps/rejected"].append(logps_P2[:, 1].mean().item())


def pairs_dataset(pairs: Sequence[Branches], reference_P2: np.ndarray) -> Dataset:
    """Pairs as the trainer takes them. reference_P2: ln p of chosen and rejected by the policy's start."""
    return Dataset.from_dict(
        {
            "prompt": [pair.prompt for pair in pairs],
            "answers": [pair.completions for pair in pairs],
            "reference": reference_P2,
            "length": [pair.length for pair in pairs],
        }
    )


def _batch(rows: list[dict[str, Any]]) -> dict[str, Any]:
    pairs = [Branches(row["prompt"], row["answers"]) for row in rows]
    return {
        "reference_P2": torch.tensor([row["reference"] for row in rows]),
        "lengths_P2": torch.tensor([[len(answer) for answer in pair.completions] for pair in pairs]),
        "pairs": pairs,
    }
