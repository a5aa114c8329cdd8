"""What a round's answers teach: the policy's, and for PPO the critic's, optimizer steps.

C answers of P prompts, T tokens of the longest.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gristmill.align.online.advantages import (
    generalized_advantages,
    group_advantages,
    leave_one_out_advantages,
    whitened,
)
from gristmill.align.online.config import GrpoConfig, OnlineConfig, PpoConfig
from gristmill.align.online.losses import Aggregation, kl_estimate, kl_penalty, policy_loss, token_weights, value_loss
from gristmill.align.online.rollout import Answer
from gristmill.align.online.token_logps import Scored, score_tokens
from gristmill.evaluate.bits_per_byte import logits_per_batch
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.checkpoints import same_bits
from gristmill.model.onednn import onednn_linears

BETAS = (0.9, 0.99)
CPU_TOKENS_PER_PASS = 2048
GPU_TOKENS_PER_PASS = 16_384


@dataclass(frozen=True)
class _Experience:
    """What is known of a round's answers before learning from them. All [C, T]; zero outside the mask."""

    mask_CT: Tensor
    old_logps_CT: Tensor | None
    """None: one update is made of the round, so they are those that it computes."""
    ref_logps_CT: Tensor | None
    advantages_CT: Tensor
    returns_CT: Tensor | None = None
    old_values_CT: Tensor | None = None


class Learner:
    """A policy, its start as reference, and the algorithm that `config` names."""

    def __init__(self, policy: PreTrainedModel, reference: PreTrainedModel, config: OnlineConfig) -> None:
        self.policy, self.reference, self.config = policy, reference, config
        groups: list[dict[str, Any]] = [{"params": list(policy.parameters()), "lr": config.lr}]
        self._tokens_per_pass = config.tokens_per_pass or _tokens_per_pass(policy)
        self.critic: nn.Linear | None = None
        self.kl_coef = config.kl_coef
        if isinstance(config, PpoConfig):
            self.critic = nn.Linear(policy.config.get_text_config().hidden_size, 1, device=policy.device)
            nn.init.zeros_(self.critic.weight)
            nn.init.zeros_(self.critic.bias)
            groups.append({"params": list(self.critic.parameters()), "lr": config.value_lr})
        self.optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.0, fused=True)
        for group in self.optimizer.param_groups:
            group["full_lr"] = group["lr"]

    def learn(
        self, answers: Sequence[Answer], rewards_C: Tensor, *, lr_share: float, measure_kl: bool
    ) -> dict[str, float]:
        """Make answers of high reward likelier. answers: groups of `group_size`, a prompt's next to each other.

        Returns the round's measurements: loss, entropy in nats per token, kl in nats per answer (where measured), share
        of clipped tokens, gradient norm, share of groups whose rewards differ (the others teach nothing). Entropy and
        clipping are of the tokens learned from.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr_share * group["full_lr"]
        with onednn_linears(self.policy), same_bits(self.policy.device):
            return self._learn(answers, rewards_C, measure_kl=measure_kl)

    def _learn(self, answers: Sequence[Answer], rewards_C: Tensor, *, measure_kl: bool) -> dict[str, float]:
        config = self.config
        known, measured = self._experience(answers, rewards_C, measure_kl=measure_kl)
        sums: defaultdict[str, float] = defaultdict(float)
        size = config.group_size
        prompts_each = len(answers) // size // config.updates_per_step
        updates = 0
        for _ in range(config.passes):
            for first in range(0, len(answers), prompts_each * size):
                chosen = range(first, first + prompts_each * size)
                for name, value in self._update(answers, known, chosen).items():
                    sums[name] += value
                updates += 1
        spread = rewards_C.reshape(-1, size).amax(dim=1) - rewards_C.reshape(-1, size).amin(dim=1)
        measured["differing_groups"] = (spread > 0).float().mean().item()
        self._adapt_kl_coef(measured)
        scored = sums.pop("scored_tokens")
        for name in ("clipped", "entropy"):
            total = sums.pop(name, 0.0)
            if scored:  # groups of equal rewards are not looked at
                measured[name] = total / scored
        return {**measured, **{name: value / updates for name, value in sums.items()}}

    def _experience(
        self, answers: Sequence[Answer], rewards_C: Tensor, *, measure_kl: bool
    ) -> tuple[_Experience, dict[str, float]]:
        config, longest = self.config, max(len(answer.ids) for answer in answers)
        lengths_C = torch.tensor([len(answer.ids) for answer in answers], device=self.policy.device)
        mask_CT = (torch.arange(longest, device=self.policy.device) < lengths_C[:, None]).float()
        everything, scored, ref_logps_CT = range(len(answers)), None, None
        measured: dict[str, float] = {}
        with torch.no_grad():
            if measure_kl or self.kl_coef or config.updates_per_step * config.passes > 1 or self.critic:
                scored = self._score(self.policy, answers, everything, longest)
            if scored and (measure_kl or self.kl_coef):
                ref_logps_CT = self._score(self.reference, answers, everything, longest).logps_CT
                kl_CT = kl_estimate(scored.logps_CT, ref_logps_CT) * mask_CT
                measured["kl"] = (kl_CT.sum() / len(answers)).item()
        old_values_CT = returns_CT = None
        if isinstance(config, PpoConfig):
            assert scored
            old_values_CT = self._values(scored, mask_CT).detach()
            rewards_CT = torch.zeros_like(mask_CT)
            rewards_CT[torch.arange(len(answers)), lengths_C - 1] = rewards_C.float()
            if ref_logps_CT is not None:
                rewards_CT -= self.kl_coef * (scored.logps_CT - ref_logps_CT) * mask_CT
            advantages_CT, returns_CT = generalized_advantages(
                rewards_CT, old_values_CT, mask_CT, gamma=config.gamma, lam=config.lam
            )
            advantages_CT = whitened(advantages_CT, mask_CT)
            measured["value_error"] = (((old_values_CT - returns_CT) * mask_CT).square().sum() / mask_CT.sum()).item()
        else:
            grouped_PG = rewards_C.reshape(-1, config.group_size)
            if isinstance(config, GrpoConfig):
                advantages_PG = group_advantages(grouped_PG, standardize=config.loss != "dr_grpo")
            else:
                advantages_PG = leave_one_out_advantages(grouped_PG)
            advantages_CT = advantages_PG.reshape(-1, 1).float() * mask_CT
        old_logps_CT = scored.logps_CT if scored else None
        return _Experience(mask_CT, old_logps_CT, ref_logps_CT, advantages_CT, returns_CT, old_values_CT), measured

    def _values(self, scored: Scored, mask_CT: Tensor) -> Tensor:
        """The critic's guesses before each token."""
        assert self.critic is not None
        assert scored.hidden_CTD is not None
        return self.critic(scored.hidden_CTD)[..., 0] * mask_CT

    def _update(self, answers: Sequence[Answer], known: _Experience, chosen: range) -> dict[str, float]:
        """One optimizer step on some of a round's answers."""
        config = self.config
        rows = slice(chosen.start, chosen.stop)
        weights_CT = token_weights(known.mask_CT[rows], self._aggregation, max_tokens=config.max_new_tokens)
        totals: defaultdict[str, float] = defaultdict(float)
        longest, tokens = known.mask_CT.shape[1], 0.0
        high = config.clip_eps if config.clip_eps_high is None else config.clip_eps_high
        for part in self._passes(answers, chosen):
            # what the reward does not tell apart has no gradient, unless something else pulls at it
            if self.critic is None and not self.kl_coef and not known.advantages_CT[part].any():
                continue
            scored = self._score(self.policy, answers, part, longest)
            at = slice(part.start, part.stop)
            weights = weights_CT[part.start - chosen.start : part.stop - chosen.start]
            old_logps = scored.logps_CT.detach() if known.old_logps_CT is None else known.old_logps_CT[at]
            loss = policy_loss(
                scored.logps_CT,
                old_logps,
                known.advantages_CT[at],
                weights,
                clip_eps_low=config.clip_eps,
                clip_eps_high=high,
            )
            if known.ref_logps_CT is not None and self.kl_coef and self.critic is None:
                penalty = kl_penalty(scored.logps_CT, old_logps, known.ref_logps_CT[at], weights)
                loss = loss + self.kl_coef * penalty
            if self.critic is not None:
                assert isinstance(config, PpoConfig)
                assert known.returns_CT is not None
                assert known.old_values_CT is not None
                values = self._values(scored, known.mask_CT[at])
                loss = loss + value_loss(
                    values, known.old_values_CT[at], known.returns_CT[at], weights, clip_eps=config.value_clip
                )
            loss.backward()
            ratio = (scored.logps_CT.detach() - old_logps).exp()
            outside = ((ratio < 1 - config.clip_eps) | (ratio > 1 + high)).float()
            tokens += known.mask_CT[at].sum().item()
            totals["loss"] += loss.item()
            totals["clipped"] += (outside * known.mask_CT[at]).sum().item()
            totals["entropy"] += scored.entropy_CT.sum().item()
        totals["scored_tokens"] = tokens
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), config.grad_clip)
        totals["grad_norm"] = norm.item()
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"the gradient's norm is {norm.item()}; lower lr (now {config.lr:g}), or use precision: fp32"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return totals

    @property
    def _aggregation(self) -> Aggregation:
        if isinstance(self.config, GrpoConfig):
            return {"grpo": "answer", "dr_grpo": "constant", "dapo": "token"}[self.config.loss]  # pyright: ignore[reportReturnType]
        return "token"

    def _score(self, model: PreTrainedModel, answers: Sequence[Answer], chosen: range, longest: int) -> Scored:
        pieces = []
        for part in self._passes(answers, chosen):
            rows = [
                Branches(answers[first].prompt.ids, [answers[number].ids for number in range(first, stop)])
                for first, stop in _same_prompt(answers, part)
            ]
            with torch.autocast(model.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                scored = score_tokens(
                    model,
                    rows,
                    longest=longest,
                    temperature=self.config.temperature,
                    with_hidden=self.critic is not None,
                )
            pieces.append(scored)
        return pieces[0] if len(pieces) == 1 else Scored.joined(pieces)

    def _passes(self, answers: Sequence[Answer], chosen: range) -> Iterator[range]:
        """Consecutive parts whose rows have at most so many tokens (or one answer)."""
        start, tokens, previous = chosen.start, 0, None
        for number in chosen:
            answer = answers[number]
            is_new = answer.prompt is not previous
            added = len(answer.ids) + (len(answer.prompt.ids) if is_new else 0)
            if number > start and tokens + added > self._tokens_per_pass:
                yield range(start, number)
                start, tokens, added = number, 0, len(answer.ids) + len(answer.prompt.ids)
            tokens += added
            previous = answer.prompt
        yield range(start, chosen.stop)

    def _adapt_kl_coef(self, measured: dict[str, float]) -> None:
        config = self.config
        if isinstance(config, PpoConfig) and config.kl_target is not None and "kl" in measured:
            # the controller of Ziegler et al. 2019: at most 2 % a round
            error = min(0.2, max(-0.2, measured["kl"] / config.kl_target - 1))
            self.kl_coef *= 1 + 0.1 * error
        measured["kl_coef"] = self.kl_coef


def _tokens_per_pass(policy: PreTrainedModel) -> int:
    if policy.device.type == "cpu":
        return CPU_TOKENS_PER_PASS
    return min(GPU_TOKENS_PER_PASS, logits_per_batch(policy.device) // policy.config.get_text_config().vocab_size)


def _same_prompt(answers: Sequence[Answer], part: range) -> Iterator[tuple[int, int]]:
    """(first, stop) of each run of answers to one prompt."""
    start = part.start
    for number in part:
        if answers[number].prompt is not answers[start].prompt:
            yield start, number
            start = number
    yield start, part.stop
