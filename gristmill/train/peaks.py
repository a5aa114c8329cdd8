"""What a device can compute at most, and what a model needs: together the share that a run makes use of (MFU)."""

import torch
from torch import nn

from gristmill.model.roles import parameter_role

# TFLOP/s of one device, dense: (bf16 on tensor cores with fp32 sums, fp32 without TF32). The longest name that fits.
# Sources: NVIDIA's data sheets of A10, A100, L4, L40S, H100, H200; its Ampere GA102 and Ada AD102 architecture papers.
# Where a sheet gives figures with sparsity alone, half of them.
PEAK_TFLOPS = {
    "NVIDIA A10": (125.0, 31.2),
    "NVIDIA A100": (312.0, 19.5),
    "NVIDIA GeForce RTX 3090": (71.0, 35.6),
    "NVIDIA GeForce RTX 4090": (165.2, 82.6),
    "NVIDIA H100 80GB HBM3": (989.4, 66.9),
    "NVIDIA H100 PCIe": (756.0, 51.0),
    "NVIDIA H200": (989.4, 66.9),
    "NVIDIA L4": (121.0, 30.3),
    "NVIDIA L40S": (362.0, 91.6),
    "NVIDIA RTX A6000": (154.8, 38.7),
}


def peak_flops(device: torch.device, *, precision: str, stated_tflops: float | None = None) -> float | None:
    """FLOP/s of one device at `precision` (bf16 or fp32). None where it is not known: no CPU is in the table.

    stated_tflops: what the user says instead (`resources.peak_tflops`).
    """
    if stated_tflops is not None:
        return stated_tflops * 1e12
    if device.type != "cuda":
        return None
    return peak_of_name(torch.cuda.get_device_name(device), precision=precision)


def peak_of_name(name: str, *, precision: str) -> float | None:
    """FLOP/s of a device that calls itself so. `NVIDIA A100-SXM4-80GB` is an A100, `NVIDIA L40` no L4."""
    known = [each for each in PEAK_TFLOPS if name == each or name.startswith((f"{each} ", f"{each}-"))]
    if not known:
        return None
    bf16, fp32 = PEAK_TFLOPS[max(known, key=len)]
    return (bf16 if precision == "bf16" else fp32) * 1e12


def flops_per_token(model: nn.Module, seq_len: int) -> float:
    """FLOPs of training on one token: 6 a weight that multiplies, and attention's products of all pairs of positions.

    Chowdhery et al. 2022, arXiv:2204.02311, appendix B: 6 N + 12 L H Q T, without a discount for causal attention.
    Tables that are looked up multiply nothing, unless they are the output matrix too; of experts the active ones count.
    """
    config = model.config.get_text_config()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    active = getattr(config, "num_experts_per_tok", 0) / getattr(config, "num_experts", 1)
    output = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    weights = 0.0
    for name, weight in model.named_parameters():
        is_looked_up = parameter_role(name, weight) == "embedding"
        if weight.ndim < 2 or (is_looked_up and (output is None or weight is not output.weight)):
            continue
        weights += weight.numel() * (active if ".experts." in name else 1.0)
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 6 * weights + 12 * config.num_hidden_layers * heads * head_dim * seq_len
