"""Losses of preference pairs, DPO's and ORPO's: what trains, and what the report says of held-out pairs."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gristmill.align.config import DpoConfig, OrpoConfig


def pair_losses(logps_P2: Tensor, reference_P2: Tensor, lengths_P2: Tensor, config: DpoConfig | OrpoConfig) -> Tensor:
    """What the configuration minimizes, pair by pair, in nats (IPO's: squared). [P]

    logps_P2, reference_P2: ln p of chosen and rejected, in that order, by the policy and by its start. lengths_P2:
    their tokens. At the start the loss is ln 2 for `sigmoid` and `robust` and 1/(2 beta)² for `ipo`, and what
    `chosen_nll_weight` adds. The papers are named at the settings of `DpoConfig` and `OrpoConfig`.
    """
    per_token_P2 = logps_P2 / lengths_P2
    chosen_nll_P = -per_token_P2[:, 0]
    if isinstance(config, OrpoConfig):
        return chosen_nll_P + config.beta * odds_ratio_loss(*per_token_P2.unbind(1))
    changes_P2 = logps_P2 - reference_P2
    if config.length_normalized or config.loss == "ipo":
        changes_P2 = changes_P2 / lengths_P2
    margins_P = changes_P2[:, 0] - changes_P2[:, 1]
    if config.loss == "ipo":
        losses_P = (margins_P - 1 / (2 * config.beta)) ** 2
    else:
        noise = config.label_noise
        right_P, flipped_P = -logsigmoid(config.beta * margins_P), -logsigmoid(-config.beta * margins_P)
        losses_P = ((1 - noise) * right_P - noise * flipped_P) / (1 - 2 * noise)
    return losses_P + config.chosen_nll_weight * chosen_nll_P


def odds_ratio_loss(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """−ln σ(ln odds(chosen) − ln odds(rejected)), odds = p / (1 − p); Hong et al. 2024, arXiv:2403.07691, eq. 7.

    chosen_P, rejected_P: ln p per token, mean over an answer's tokens, below 0. [P] each, as is what it returns.
    """
    log_odds_P = (chosen_P - torch.log(-torch.expm1(chosen_P))) - (rejected_P - torch.log(-torch.expm1(rejected_P)))
    return -logsigmoid(log_odds_P)
