"""TRL's SFT trainer, with logits computed only where something is learned."""

from typing import Any

from transformers import PreTrainedModel
from trl import SFTTrainer

from gristmill.train.loss import summed_nats


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
        learned_BT = targets_BT != -100
        places_L = learned_BT.any(dim=0).nonzero()[:, 0]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            logits_to_keep=places_L,
        )
        learned_BL = learned_BT[:, places_L]
        nats = summed_nats(outputs.logits[learned_BL], targets_BT[:, places_L][learned_BL])
        return nats / (learned_BT.sum() if num_items_in_batch is None else num_items_in_batch)
