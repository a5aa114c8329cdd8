"""A loaded model as lm-evaluation-harness asks it: its own HFLM, with progress, counts, and a pinned prefix token."""

import logging
import math
from typing import Any, Literal

import torch
from lm_eval.api.instance import Instance
from lm_eval.models import huggingface
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gristmill.evaluate.bits_per_byte import logits_per_batch
from gristmill.progress import Bar

CPU_ROWS_PER_BATCH = 8
GPU_ROWS_PER_BATCH = 64  # fewer of long rows: all logits of a pass are kept
HFLM: Any = huggingface.HFLM  # the decorator that registers it hides its type


class MeasuredLM(HFLM):
    """The same numbers as HFLM's, to the last bit where `prefix` is `tokenizer`.

    prefix: `always` puts the token that begins a document before every prompt; `tokenizer` leaves that to the
    tokenizer, but for an empty prompt, where lm-eval needs one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prefix: Literal["tokenizer", "always"],
        bar: Bar,
    ) -> None:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)  # says at length that a loaded model was given
        kind = model.device.type
        narrow = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=rows_per_batch(model.device),
            mixed_precision_dtype=narrow,  # without it HFLM leaves the autocast it is called in
        )
        self._prefix: Literal["tokenizer", "always"] = prefix
        self._bar = bar
        self.truncated = 0
        """Requests whose beginning did not fit into the model's context."""
        self.begun: bool = False
        """Whether that token stood before any prompt."""
        self.too_long: set[tuple[str, str]] = set()
        """Requests (prompt, answer) not made, since the answer alone did not fit."""

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        ids = super().tok_encode(string, add_special_tokens=add_special_tokens, **kwargs)
        has_it = add_special_tokens is False or ids[:1] == [self.prefix_token_id]
        return ids if self._prefix == "tokenizer" or has_it else [self.prefix_token_id, *ids]

    def tok_batch_encode(
        self, strings: list[str], left_truncate_len: int | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        begin = self.tokenizer.decode(self.prefix_token_id) if self._prefix == "always" else ""
        begun = [string if string.startswith(begin) else begin + string for string in strings]
        room = left_truncate_len or self.max_length
        encoded = [self.tokenizer.encode(string) for string in begun]
        self.truncated += sum(len(ids) > room for ids in encoded)
        self.begun |= any(ids[:1] == [self.prefix_token_id] for ids in encoded)
        return super().tok_batch_encode(begun, left_truncate_len=left_truncate_len, **kwargs)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return super().loglikelihood(requests, disable_tqdm=True)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return super().generate_until(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        fits = [len(answer) <= self.max_length for _, _, answer in requests]
        self.too_long |= {texts for (texts, _, _), it_fits in zip(requests, fits, strict=True) if not it_fits}
        made = [request for request, it_fits in zip(requests, fits, strict=True) if it_fits]
        self.truncated += sum(len(prompt) + len(answer) > self.max_length + 1 for _, prompt, answer in made)
        self.begun |= any(prompt[:1] == [self.prefix_token_id] for _, prompt, _ in made)
        longest = max((len(prompt) + len(answer) for _, prompt, answer in made), default=1)
        logits = min(longest, self.max_length) * self.model.config.get_text_config().vocab_size
        rows = max(1, min(rows_per_batch(self.device), logits_per_batch(self.device) // logits))
        kwargs |= {"override_bs": rows} if self.device.type != "cpu" else {}
        answered = iter(super()._loglikelihood_tokens(made, **kwargs) if made else ())
        return [next(answered) if it_fits else (math.nan, False) for it_fits in fits]

    def _model_call(self, inps: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        logits = super()._model_call(inps, *args, **kwargs)
        self._bar.advance(len(inps))
        return logits

    def _model_generate(self, context: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        ids = super()._model_generate(context, *args, **kwargs)
        self._bar.advance(len(context))
        return ids


def rows_per_batch(device: torch.device) -> int:
    """Prompts that a forward pass reads together, at most."""
    return CPU_ROWS_PER_BATCH if device.type == "cpu" else GPU_ROWS_PER_BATCH
