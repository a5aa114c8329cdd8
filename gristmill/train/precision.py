"""Which precision a run computes in when its configuration leaves that to the device."""

from collections.abc import Mapping
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]

CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Instructions for products of bfloat16 numbers, on x86 and ARM. Without them a CPU converts, and is slower."""
CUDA_BF16 = (8, 0)
"""Compute capability from which on tensor cores take bfloat16 (Ampere)."""


def resolved_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """`wanted`, or for `auto` bf16 where the device has instructions for it, else fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= CUDA_BF16 else "fp32"
    return of_cpu(torch.cpu.get_capabilities())


def of_cpu(capabilities: Mapping[str, object]) -> Precision:
    """bf16 for a processor that can multiply such numbers; its capabilities as torch names them."""
    return "bf16" if any(capabilities.get(name) for name in CPU_BF16) else "fp32"
