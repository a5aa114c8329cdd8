"""TRL's DPO trainer for pairs that come tokenized, with the reference's log-probabilities beside them; ORPO on it.

TRL 1.16 has ORPO in its experimental part only, so the loss is ours.
"""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel
from trl import DPOTrainer

NOT_LEARNED = -100


class TokenizedDPOTrainer(DPOTrainer):
    """Takes prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps and ref_rejected_logps as they are.

    The two steps left out are TRL 1.16's own preparation. Its arguments must say `precompute_ref_log_probs`, so that
    it neither loads nor copies a reference model.
    """

    def _prepare_dataset(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset


class OrpoTrainer(TokenizedDPOTrainer):
    """The same with ORPO's loss, which looks at no reference."""

    def _compute_loss(self, model: PreTrainedModel, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """Rows: the chosen answers, then the rejected ones."""
        seen_BT = inputs["completion_mask"][:, 1:].bool()
        labels_BT = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, NOT_LEARNED)
        logps_BT = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=labels_BT,
            fused_lm_head=True,  # TRL's: zero where nothing is learned
        ).log_probs
        chosen_PT, rejected_PT = logps_BT.chunk(2)
        chosen_seen_PT, rejected_seen_PT = seen_BT.chunk(2)
        chosen_P = chosen_PT.sum(dim=1) / chosen_seen_PT.sum(dim=1)
        rejected_P = rejected_PT.sum(dim=1) / rejected_seen_PT.sum(dim=1)
        metrics = self._metrics["train" if model.training else "eval"]
        metrics["rewards/accuracies"].append((chosen_P > rejected_P).float().mean().item())
        metrics["rewards/margins"].append(self.beta * (chosen_P - rejected_P).mean().item())
        metrics["logps/chosen"].append(chosen_PT.sum(dim=1).mean().item())
        metrics["logps/rejected"].append(rejected_PT.sum(dim=1).mean().item())
        chosen_nll = -chosen_PT.sum() / chosen_seen_PT.sum()
        return chosen_nll + self.beta * odds_ratio_loss(chosen_P, rejected_P).mean()


def odds_ratio_loss(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """−ln σ(ln odds(chosen) − ln odds(rejected)), odds = p / (1 − p); Hong et al. 2024, arXiv:2403.07691, eq. 7.

    chosen_P, rejected_P: ln p per token, mean over an answer's tokens, below 0. [pairs] each, as is what it returns.
    """
    log_odds_P = (chosen_P - torch.log(-torch.expm1(chosen_P))) - (rejected_P - torch.log(-torch.expm1(rejected_P)))
    return -logsigmoid(log_odds_P)
