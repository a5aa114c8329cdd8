"""How fast a machine will train, before it has: from an earlier run, or from what its arithmetic could do at most.

torch is not needed, since a plan asks. Left out: several machines, and the time that validation and checkpoints take.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.schema import Resources
from gristmill.train.peaks import peak_of_name

ASSUMED_SHARE = 0.35
"""Of a device's peak, from the table or stated, when nothing was measured: small models on one GPU."""
ASSUMED_CPU_SHARE = {"fp32": 0.6, "bf16": 1.0}
"""Of what numpy does in float32, on a core with AVX512_BF16: 4 layers × 192 (docs/decisions/0006-dial.md)."""
SIMILAR = 4.0
"""Runs whose number of parameters differs by less than this factor are taken to use the machine equally well."""


@dataclass(frozen=True)
class EarlierRun:
    """A finished pretraining of this store."""

    address: str
    parameters: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Speed:
    """Tokens a second, and where that is from; None where nothing is known of the device."""

    tokens_per_s: float | None
    basis: str


def expected_speed(
    earlier: Sequence[EarlierRun], resources: Resources, *, parameters: int, flops_per_token: int, precision: str
) -> Speed:
    """By the run of the most similar size, scaled by the number of parameters; else a share of the device's peak."""
    near = [run for run in earlier if 1 / SIMILAR < run.parameters / parameters < SIMILAR and run.seconds > 0]
    if near:
        like = min(near, key=lambda run: max(run.parameters / parameters, parameters / run.parameters))
        tokens_per_s = like.tokens / like.seconds * like.parameters / parameters
        return Speed(tokens_per_s, f"as {like.address}, {like.parameters:,} parameters, was")
    flops_per_s, basis = _of_device(resources, precision)
    return Speed(flops_per_s / flops_per_token if flops_per_s else None, basis)


def _of_device(resources: Resources, precision: str) -> tuple[float | None, str]:
    """FLOP/s that training is expected to do, and why."""
    stated = resources.peak_tflops
    name = None if stated or resources.device == "cpu" else _gpu_name()
    if stated:
        name, peak, share = "a device by resources.peak_tflops", stated * 1e12, ASSUMED_SHARE
        devices = resources.processes
    elif name:
        peak, share, devices = peak_of_name(name, precision=precision), ASSUMED_SHARE, resources.processes
    elif resources.device.startswith("cuda"):
        return None, "nvidia-smi names no GPU here"
    else:
        name, peak, share = "a core, in float32", core_peak_flops(), ASSUMED_CPU_SHARE[precision]
        devices = resources.threads * resources.processes
    if peak is None:
        return None, f"no peak is known of {name}"
    return share * devices * peak, f"{share:.0%} of {devices} × {peak / 1e12:.2g} TFLOP/s, the peak of {name}"


def core_peak_flops() -> float:
    """FLOP/s of a float32 product of large matrices on one core, as numpy does it now; about 0.3 s.

    In a process of its own, since numpy reads once how many threads it may use; by CPU time, so that other work on the
    machine does not matter.
    """
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", _PRODUCT]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


_PRODUCT = """
import time
import numpy as np
square, seconds = np.ones((1024, 1024), np.float32), []
for _ in range(4):
    started = time.process_time()
    np.matmul(square, square)
    seconds.append(time.process_time() - started)
print(2 * 1024**3 / min(seconds))
"""


def _gpu_name() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)
