"""What a run could compute at most, and what its model needs: together the share that it makes use of (MFU)."""

import torch
from torch import nn

from gristmill.model.roles import parameter_role
from gristmill.train.peaks import peak_of_name


def peak_flops(device: torch.device, *, precision: str, stated_tflops: float | None = None) -> float | None:
    """FLOP/s of one device at `precision` (bf16 or fp32). None where it is not known: no CPU is in the table.

    stated_tflops: what the user says instead (`resources.peak_tflops`).
    """
    if stated_tflops is not None:
        return stated_tflops * 1e12
    if device.type != "cuda":
        return None
    return peak_of_name(torch.cuda.get_device_name(device), precision=precision)


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
