"""What pretraining minimises, for a model: nats of the next token or of masked ones, and with experts their balance.

The trainer asks for examples, then once a step for a `StepLoss`, then for the loss of each micro-batch. All losses are
sums over tokens; divided by the tokens to predict of the whole batch, over all micro-batches and processes, they and
their gradients add up to the batch's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from gristmill.evaluate.bits_per_byte import Examples, masked_tokens, next_tokens
from gristmill.model.experts import router_logits_alone
from gristmill.tokens.masking import Masking
from gristmill.tokens.reader import TokenShards
from gristmill.tokens.tokenizer import Vocabulary
from gristmill.train.balance import Balance, expert_use
from gristmill.train.kl import StartModel
from gristmill.train.loss import IGNORED, summed_nats

Piece = tuple[Tensor, Tensor, Mapping[str, Any]]
"""Inputs and targets of a micro-batch, [B, T] each; and what keeps its documents apart, empty where nothing does."""
Sum = Callable[..., list[float]]
"""Sums over all processes, of as many numbers as are given."""


class Forward(Protocol):
    """The model's forward pass, in training precision."""

    def __call__(self, inputs_BT: Tensor, **wanted: Any) -> Any: ...


class Objective:
    """What one model learns from rows of tokens."""

    def __init__(
        self,
        model: PreTrainedModel,
        shards: TokenShards,
        *,
        tokenizer: Path,
        seed: int,
        z_loss: float,
        held_to: StartModel | None = None,
        kl_weight: float = 0.0,
        compiled: bool = False,
    ) -> None:
        """z_loss: weight of ln² Z (gristmill.train.loss). held_to: the model that this one starts as, and that weight.
        compiled: of the cross-entropy.

        Raises ValueError when the model learns from masked tokens and the tokenizer has no mask token, or is to be held
        to another one.
        """
        if held_to and type(model).__name__.endswith("MaskedLM"):
            raise ValueError(
                "pretrain.kl_to_start compares next tokens, and this model guesses masked ones; set it to 0"
            )
        self._held_to, self._kl_weight = held_to, kl_weight
        self._pad_id: int = shards.meta["pad_id"]
        self._masking = _masking(shards, tokenizer, seed=seed) if type(model).__name__.endswith("MaskedLM") else None
        self._balance = _balance(model)
        self._z_loss, self._compiled = z_loss, compiled

    @property
    def metric(self) -> str:
        """Name of what is measured on validation rows. The bits of masked tokens are guessed from both sides: they do
        not add up to the bits of a text, so they have a name of their own."""
        return "masked_bits_per_byte" if self._masking else "bits_per_byte"

    @property
    def validation_examples(self) -> Examples:
        """How validation rows are asked."""
        return masked_tokens(self._masking) if self._masking else next_tokens

    @property
    def is_causal(self) -> bool:
        """Whether a token sees those before it alone."""
        return self._masking is None

    def examples(self, rows: NDArray[np.int64], *, numbers: NDArray[np.integer], step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, [B, T] each, of rows [B, seq_len + 1]; a target that does not count is IGNORED.

        numbers: [B], which rows of the dataset they are.
        """
        if self._masking:
            seen, guessed = self._masking.for_training(rows, numbers, step=step)
            return torch.from_numpy(seen), torch.from_numpy(np.where(guessed, rows, IGNORED))
        inputs, targets = torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:])
        return inputs, targets.where(targets != self._pad_id, IGNORED)

    def begin_step(self, forward: Forward, pieces: Sequence[Piece], *, sum_over_ranks: Sum) -> "StepLoss":
        """The loss of a step whose micro-batches in this process are `pieces`. Called by all processes together."""
        step_loss = StepLoss(
            forward, self._balance, sum_over_ranks, self._z_loss, self._compiled, self._held_to, self._kl_weight
        )
        if self._balance and len(pieces) > 1:
            step_loss.count(pieces)
        return step_loss


@dataclass
class StepLoss:
    """The loss of one step, micro-batch by micro-batch."""

    forward: Forward
    balance: Balance | None
    sum_over_ranks: Sum
    z_loss: float
    compiled: bool
    held_to: StartModel | None = None
    kl_weight: float = 0.0
    kl: tuple[float, int] = (0.0, 0)
    """Nats and predictions so far."""
    counts_LE: Tensor | None = None
    """Tokens of the whole batch that each expert gets."""
    penalties: list[Tensor] = field(default_factory=list)

    def count(self, pieces: Sequence[Piece]) -> None:
        """Send all micro-batches through the model once, to know how the whole batch uses the experts."""
        assert self.balance
        with torch.no_grad():
            counts = [
                # of the logits one is enough, they are not looked at
                self.balance.counts(self._output(inputs, logits_to_keep=1, **apart).router_logits, _counted(targets))
                for inputs, targets, apart in pieces
            ]
        self._take(torch.stack(counts).sum(dim=0))

    def of(self, inputs_BT: Tensor, targets_BT: Tensor, apart: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """What to minimise, summed over the micro-batch's targets, and of it the nats of the predictions."""
        output = self._output(inputs_BT, **apart)
        nats = summed_nats(
            output.logits.flatten(0, 1), targets_BT.flatten(), z_loss=self.z_loss, compiled=self.compiled
        )
        total = nats + self._distance(inputs_BT, targets_BT, apart, output.logits) if self.held_to else nats
        if self.balance is None:
            return total, nats
        counted = _counted(targets_BT)
        if self.counts_LE is None:
            self._take(self.balance.counts(output.router_logits, counted))
        assert self.counts_LE is not None
        penalty = self.balance.penalty(output.router_logits, counted, self.counts_LE)
        self.penalties.append(penalty.detach())
        return total + self.balance.weight * penalty, nats

    def metrics(self, tokens: float) -> dict[str, float]:
        """What there is to know beside the loss. tokens: targets of the whole batch. Called by all processes."""
        moved = {}
        if self.held_to:
            kl, predictions = self.sum_over_ranks(*self.kl)
            moved = {"kl_to_start": kl / max(1, predictions)}
        if self.counts_LE is None:
            return moved
        (penalty,) = self.sum_over_ranks(sum(penalty.item() for penalty in self.penalties))
        return {"balance_loss": penalty / tokens, **expert_use(self.counts_LE), **moved}

    def _distance(self, inputs_BT: Tensor, targets_BT: Tensor, apart: Mapping[str, Any], logits_BTV: Tensor) -> Tensor:
        assert self.held_to
        kl, predictions = self.held_to.summed_kl(inputs_BT, targets_BT, apart, logits_BTV)
        self.kl = (self.kl[0] + kl.item(), self.kl[1] + predictions)
        return self.kl_weight * kl

    def _output(self, inputs_BT: Tensor, **wanted: Any) -> Any:
        if not self.balance:
            return self.forward(inputs_BT, **wanted)
        with router_logits_alone(self.balance.module):
            return self.forward(inputs_BT, **wanted, output_router_logits=True)

    def _take(self, mine_LE: Tensor) -> None:
        totals = self.sum_over_ranks(*mine_LE.flatten().tolist())
        self.counts_LE = torch.tensor(totals, dtype=torch.float32, device=mine_LE.device).view_as(mine_LE)


def _counted(targets_BT: Tensor) -> Tensor:
    """Tokens whose prediction counts, in the order of a router's rows: [B·T]."""
    return (targets_BT != IGNORED).flatten()


def _masking(shards: TokenShards, tokenizer: Path, *, seed: int) -> Masking:
    mask_id = Vocabulary.load(tokenizer).mask_id
    if mask_id is None:
        raise ValueError(
            f"{tokenizer}/tokenizer_config.json names no mask_token, which a masked language model needs; train a "
            "tokenizer with train_tokenizer.mask_token: true, or take one that has it"
        )
    return Masking.of(shards, mask_id=mask_id, seed=seed)


def _balance(model: PreTrainedModel) -> Balance | None:
    sizes = model.config
    if getattr(sizes, "num_experts", None) is None:
        return None
    return Balance(
        weight=sizes.router_aux_loss_coef,
        experts=sizes.num_experts,
        experts_per_token=sizes.num_experts_per_tok,
        module=type(model).__module__,
    )
