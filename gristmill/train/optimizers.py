"""Muon for the matrices inside the layers, AdamW for embeddings, output matrix and norms; one learning-rate dial.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) as in `torch.optim`: its update is a matrix with
singular values near one, so a matrix's rate means how far it may move in spectral norm.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gristmill.train.config import OptimConfig

ADAM_EPS = 1e-10  # Adam's usual 1e-8 exceeds the gradients that rare tokens' embeddings see


class Optimizers:
    """Both optimizers of a model. Their state is saved and restored by parameter name."""

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        self._names = {weight: name for name, weight in model.named_parameters()}
        matrices, embeddings, head, norms = [], [], [], []
        for weight, name in self._names.items():
            if weight.ndim < 2:
                norms.append(weight)
            elif "embed_tokens" in name:
                embeddings.append(weight)
            elif "lm_head" in name:
                head.append(weight)
            else:
                matrices.append(weight)
        adamw = [
            {"params": weights, "lr": lr}
            for weights, lr in ((embeddings, config.lr_embedding), (head, config.lr_head), (norms, config.lr_norm))
            if weights
        ]
        self._optimizers: dict[str, Any] = {}
        if config.kind == "muon":
            self._optimizers["muon"] = torch.optim.Muon(
                matrices,
                lr=config.lr_matrix,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                adjust_lr_fn="original",
            )
        else:
            adamw.append({"params": matrices, "lr": config.lr_matrix, "weight_decay": config.weight_decay})
        self._optimizers["adamw"] = torch.optim.AdamW(
            adamw, betas=(config.beta1, config.beta2), eps=ADAM_EPS, weight_decay=0.0
        )
        self._beside_embeddings = [*matrices, *norms]
        for group in self._groups():
            group["full_lr"] = group["lr"]

    def step(self, *, lr_multiplier: float) -> None:
        """One update of all weights, at this share of the full learning rates."""
        for group in self._groups():
            group["lr"] = lr_multiplier * group["full_lr"]
        for optimizer in self._optimizers.values():
            optimizer.step()

    def hold_all_but_embeddings(self) -> None:
        """The next step moves only embeddings and output matrix: without a gradient a weight stays as it is."""
        for weight in self._beside_embeddings:
            weight.grad = None

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
