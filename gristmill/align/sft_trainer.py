"""TRL's SFT trainer, with logits computed only where something is learned, and rows padded or packed."""

from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from trl import SFTTrainer

from gristmill.model.documents import document_arguments
from gristmill.train.loss import summed_nats

NOT_LEARNED = -100


class AnswerTrainer(SFTTrainer):
    """Same loss as TRL's, mean nats per learned token of a step; a third less work where prompts are long."""

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        targets_BT = inputs["labels"][:, 1:]
        learned_BT = targets_BT != NOT_LEARNED
        places_L = learned_BT.any(dim=0).nonzero()[:, 0]
        seen = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids") if name in inputs}
        outputs = model(**seen, use_cache=False, logits_to_keep=places_L)
        learned_BL = learned_BT[:, places_L]
        nats = summed_nats(outputs.logits[learned_BL], targets_BT[:, places_L][learned_BL])
        return nats / (learned_BT.sum() if num_items_in_batch is None else num_items_in_batch)


def packed(rows: list[dict[str, list[int]]], config: PreTrainedConfig) -> dict[str, Any]:
    """A batch in one row of N tokens without padding: each row blind to the others, its positions from 0.

    rows: `input_ids` and `labels`. Returns those and `position_ids` as [1, N], `attention_mask` as [1, 1, N, N], or as
    `within_window` says for the model of this configuration.
    """
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    rows_1N = torch.repeat_interleave(torch.arange(len(rows)), lengths)[None]
    # what begins a row has nothing before it to be predicted from
    labels = [label for row in rows for label in (NOT_LEARNED, *row["labels"][1:])]
    ids = [token for row in rows for token in row["input_ids"]]
    return {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels]), **document_arguments(rows_1N, config)}
