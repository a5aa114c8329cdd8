"""What a run could compute at most, and what its model needs: together the share that it makes use of (MFU)."""

import torch
from transformers import PreTrainedModel

from gristmill.train.cost import flops_by_sizes
from gristmill.train.dial import Facts
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


def flops_of_built(model: PreTrainedModel, facts: Facts) -> int:
    """FLOPs of training a model in memory on one token: what `gristmill.train.cost.flops_per_token` is of a shape."""
    sizes = model.config.get_text_config()
    heads = sizes.num_attention_heads
    head_dim = getattr(sizes, "head_dim", None) or sizes.hidden_size // heads
    return flops_by_sizes(
        facts.parameters + sizes.vocab_size * facts.width,
        depth=facts.depth,
        attention_width=heads * head_dim,
        seq_len=facts.seq_len,
    )
