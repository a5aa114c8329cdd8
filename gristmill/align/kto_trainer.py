"""TRL's KTO trainer for answers that come tokenized, with the reference's log-probabilities beside them."""

from typing import Any

from datasets import Dataset
from trl import KTOTrainer


class TokenizedKTOTrainer(KTOTrainer):
    """Takes prompt_ids, completion_ids, KL_completion_ids, label, ref_logps and ref_KL_logps as they are, in order.

    The two steps left out are TRL 1.16's own preparation. Its arguments must say `precompute_ref_log_probs`, so that
    it neither loads nor copies a reference model.
    """

    def _prepare_dataset(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *unused: Any) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset
