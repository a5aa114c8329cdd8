"""TRL's DPO trainer for pairs that come tokenized, with the reference's log-probabilities beside them."""

from typing import Any

from datasets import Dataset
from trl import DPOTrainer


class TokenizedDPOTrainer(DPOTrainer):
    """Takes prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps and ref_rejected_logps as they are.

    The two steps left out are TRL 1.16's own preparation. Its arguments must say `precompute_ref_log_probs`, so that
    it neither loads nor copies a reference model.
    """

    def _prepare_dataset(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset
