"""Muon for the matrices inside the layers, AdamW for embeddings, output matrix and norms; one learning-rate dial.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) as in `torch.optim`: its update is a matrix with
singular values near one, so a matrix's rate means how far it may move in spectral norm.
"""

from collections.abc import Iterable
from typing import get_args

import torch
from torch import Tensor, nn

from gristmill.model.roles import Role, parameter_role
from gristmill.train.config import OptimConfig

ADAM_EPS = 1e-10  # Adam's usual 1e-8 exceeds the gradients that rare tokens' embeddings see


class Optimizers:
    """Both optimizers of a model. Their state is saved and restored by parameter name."""

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        self._names = {weight: name for name, weight in model.named_parameters()}
        of_role: dict[Role, list[Tensor]] = {role: [] for role in get_args(Role)}
        for weight, name in self._names.items():
            of_role[parameter_role(name, weight)].append(weight)
        rates: dict[Role, float] = {
            "embedding": config.lr_embedding,
            "head": config.lr_head,
            "norm": config.lr_norm,
        }
        adamw = [{"params": of_role[role], "lr": lr} for role, lr in rates.items() if of_role[role]]
        self._optimizers = {
            "muon": torch.optim.Muon(
                of_role["matrix"],
                lr=config.lr_matrix,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                adjust_lr_fn="original",
            ),
            "adamw": torch.optim.AdamW(adamw, betas=(config.beta1, config.beta2), eps=ADAM_EPS, weight_decay=0.0),
        }
        for group in self._groups():
            group["full_lr"] = group["lr"]

    def step(self, *, lr_multiplier: float) -> None:
        """One update of all weights, at this share of the full learning rates."""
        for group in self._groups():
            group["lr"] = lr_multiplier * group["full_lr"]
        for optimizer in self._optimizers.values():
            optimizer.step()

    def learning_rates(self, *, lr_multiplier: float) -> dict[str, float]:
        """`lr_matrix`, `lr_embedding`, …: the rate of each role that the model has, at this share of the full one."""
        rates = {}
        for group in self._groups():
            weight = group["params"][0]
            rates[f"lr_{parameter_role(self._names[weight], weight)}"] = lr_multiplier * group["full_lr"]
        return rates

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state, as `optimizer/parameter/name`."""
        return {
            f"{kind}/{self._names[weight]}/{name}": tensor
            for kind, optimizer in self._optimizers.items()
            for weight, entry in optimizer.state.items()
            for name, tensor in entry.items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a state that `state()` gave, bit by bit."""
        weights = {name: weight for weight, name in self._names.items()}
        for key, tensor in state.items():
            kind, parameter, name = key.split("/")
            weight = weights[parameter]
            # AdamW counts its steps on the CPU, wherever the weights are
            self._optimizers[kind].state[weight][name] = tensor if name == "step" else tensor.to(weight.device)

    def _groups(self) -> Iterable[dict]:
        return (group for optimizer in self._optimizers.values() for group in optimizer.param_groups)
