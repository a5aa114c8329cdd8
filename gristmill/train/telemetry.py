"""What a logged step of training says about itself: loss and rates, and where time, memory and energy went.

docs/training.md lists every name with its unit. Numbers of this module decide nothing: two runs of the same bits may
differ in all of them.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gristmill.metrics import read_metrics
from gristmill.model.roles import parameter_role
from gristmill.train.energy import EnergyMeter

MIB = 2**20


class Telemetry:
    """Clocks and counters between two logged steps of one process.

    flops_per_token: of the whole model. peak_flops: of all devices together; None where it is not known. before: the
    last row that an earlier part of this run logged, whose time and energy count on.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        flops_per_token: float,
        peak_flops: float | None,
        before: dict[str, Any] | None = None,
        energy: EnergyMeter | None = None,
    ) -> None:
        self._device, self._flops_per_token, self._peak_flops = device, flops_per_token, peak_flops
        self._energy = energy or EnergyMeter(cuda_device=device.index or 0 if device.type == "cuda" else None)
        before = before or {}
        self._elapsed_before: float = before.get("elapsed_s", 0.0)
        self._joules_before: float = before.get("energy_j", 0.0)
        self._process = psutil.Process()
        self._began = self._logged = time.monotonic()
        self._spent = {"data": 0.0, "compute": 0.0}
        self._tokens = 0

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Time inside the block is spent on reading rows."""
        with self._clock("data"):
            yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Time inside the block is spent on the step itself. On a GPU it must end where its results were read."""
        with self._clock("compute"):
            yield

    def trained(self, tokens: int) -> None:
        """So many tokens, of all processes, were trained on."""
        self._tokens += tokens

    def row(self) -> dict[str, float]:
        """The numbers since the last row, and a new beginning."""
        now = time.monotonic()
        wall = max(now - self._logged, 1e-9)
        tokens_per_s = self._tokens / wall
        values = {
            "tokens_per_s": round(tokens_per_s, 1),
            "data_wait_ratio": round(self._spent["data"] / wall, 4),
            "other_ratio": round(max(0.0, 1 - sum(self._spent.values()) / wall), 4),
            "elapsed_s": round(self._elapsed_before + now - self._began, 3),
            **self._memory(),
        }
        if self._peak_flops:
            values["mfu"] = round(tokens_per_s * self._flops_per_token / self._peak_flops, 4)
        joules = self._energy.joules()
        if joules is not None:
            values["energy_j"] = round(self._joules_before + joules, 1)
        self._logged, self._tokens = now, 0
        self._spent = dict.fromkeys(self._spent, 0.0)
        return values

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent[name] += time.monotonic() - began

    def _memory(self) -> dict[str, float]:
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        values = {
            "memory_mib": round(self._process.memory_info().rss / MIB, 1),
            "memory_peak_mib": round(peak_kib / 1024, 1),
        }
        if self._device.type == "cuda":
            values["device_memory_peak_mib"] = round(torch.cuda.max_memory_allocated(self._device) / MIB, 1)
        return values


def last_row(metrics: Path) -> dict[str, Any]:
    """The newest row of a metrics file that has a time; empty where there is none."""
    return next((row for row in reversed(read_metrics(metrics)) if "elapsed_s" in row), {})


def batch_bytes(targets_N: Tensor, token_bytes: Tensor) -> int:
    """Bytes of text of the targets; ids below 0 are left out. token_bytes: [vocab_size]."""
    return int(token_bytes[targets_N[targets_N >= 0].cpu()].sum())


def role_norms(model: nn.Module) -> dict[str, float]:
    """The gradient's norm by the role of its weights (gristmill.model.roles), before clipping: `grad_norm_matrix`, …"""
    of_role: dict[str, list[Tensor]] = {}
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            of_role.setdefault(parameter_role(name, weight), []).append(weight.grad)
    return {f"grad_norm_{role}": _norm(gradients) for role, gradients in sorted(of_role.items())}


def _norm(gradients: list[Tensor]) -> float:
    norm = nn.utils.get_total_norm(gradients)
    return float((norm.full_tensor() if isinstance(norm, DTensor) else norm).item())
