"""One optimizer for the matrices inside the layers, AdamW for embeddings, output matrix and norms; one dial.

Muon's update is a matrix with singular values near one, so a matrix's rate means how far it may move in spectral norm
(`muon.py`). AdamW for all weights is the alternative, to compare with.
"""

from collections.abc import Iterable
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from gristmill.model.roles import Role, fan_in, parameter_role
from gristmill.train.config import OptimConfig, settled
from gristmill.train.muon import Muon
from gristmill.train.slices import SavedTensors

ADAM_EPS = 1e-10  # Adam's usual 1e-8 exceeds the gradients that rare tokens' embeddings see
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Optimizers:
    """The optimizers of a model, for a resolved configuration. Their state is saved and restored by parameter name."""

    def __init__(self, model: nn.Module, config: OptimConfig, *, mesh: DeviceMesh | None = None) -> None:
        """mesh: the processes that hold the same model, where there are several; they share Muon's work."""
        self._names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
        of_role: dict[Role, list[Tensor]] = {role: [] for role in get_args(Role)}
        for weight, name in self._names.items():
            of_role[parameter_role(name, weight)].append(weight)
        full_rates: dict[Role, float] = {
            "embedding": settled(config.lr_embedding),
            "head": settled(config.lr_head),
            "norm": settled(config.lr_norm),
        }
        adamw = [
            {"params": of_role[role], "lr": lr, "weight_decay": 0.0} for role, lr in full_rates.items() if of_role[role]
        ]
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        if config.kind == "muon":
            self._optimizers["muon"] = Muon(
                self._by_layout(of_role["matrix"]),
                lr=settled(config.lr_matrix),
                momentum=config.momentum,
                weight_decay=settled(config.weight_decay),
                newton_schulz=PRECISIONS[config.newton_schulz],
                mesh=mesh,
            )
        else:
            decay = settled(config.weight_decay)
            adamw.append({"params": of_role["matrix"], "lr": config.lr_matrix_adamw, "weight_decay": decay})
        fused = True if next(iter(self._names)).is_cuda else None
        self._optimizers["adamw"] = torch.optim.AdamW(
            adamw, betas=(config.beta1, config.beta2), eps=ADAM_EPS, fused=fused
        )
        self._beside_embeddings = [*of_role["matrix"], *of_role["norm"]]
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

    def learning_rates(self, *, lr_multiplier: float) -> dict[str, float]:
        """`lr_matrix`, `lr_embedding`, …: the rate of each role that the model has, at this share of the full one."""
        rates: dict[str, float] = {}
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

    def restore(self, saved: SavedTensors) -> None:
        """Take over a state that `state()` gave, bit by bit, whichever processes saved it."""
        weights = {name: weight for weight, name in self._names.items()}
        for optimizer in self._optimizers.values():
            optimizer.state.clear()  # of weights that had not moved yet when it was saved
        for key in saved.names():
            kind, parameter, name = key.split("/")
            weight = weights[parameter]
            # AdamW counts its steps beside the weights on a GPU, else on the CPU
            tensor = saved.read(key).to(weight.device) if name == "step" else saved.read_like(key, weight)
            self._optimizers[kind].state[weight][name] = tensor

    def _by_layout(self, matrices: list[Tensor]) -> list[dict[str, Any]]:
        """Matrices [out, in], and those that are stored [in, out]."""
        first = [weight for weight in matrices if fan_in(self._names[weight], weight) != weight.shape[-1]]
        last = [weight for weight in matrices if fan_in(self._names[weight], weight) == weight.shape[-1]]
        groups = ({"params": last}, {"params": first, "inputs_first": True})
        return [group for group in groups if group["params"]]

    def _groups(self) -> Iterable[dict]:
        return (group for optimizer in self._optimizers.values() for group in optimizer.param_groups)
