"""What serving a model will take, by arithmetic on stated numbers: memory, tokens a second, money for a million tokens.

The roofline of one machine (Pope et al. 2022, arXiv:2211.05102, section 2): a step of decoding reads all weights and
the keys and values of each sequence, and multiplies each sequence's token with all weights; the slower of the two
counts. Reading a prompt is bound by arithmetic alone. Left out: activations, the scheduler, sampling, the network.
"""

import math
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from gristmill.schema import Schema

Format = Literal["fp32", "bf16", "int8", "int4"]
BITS = {"fp32": 32.0, "bf16": 16.0, "int8": 8.5, "int4": 4.85}
"""A weight, with its share of scales: llama.cpp's Q8_0, and Q4_K_M as it comes out on average."""
KV_BYTES = 2
"""A number of keys and values, in 16 bits."""


class ServedModel(Schema):
    """Sizes of a model."""

    parameters: PositiveInt
    layers: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt


class Load(Schema):
    """What is asked."""

    prompt_tokens: PositiveInt = 500
    answer_tokens: PositiveInt = 200
    at_once: PositiveInt = 8
    """Requests that a machine answers together."""
    requests_per_s: PositiveFloat | None = None
    """What has to be answered; null: as much as one machine can."""


class Machine(Schema):
    """What answers."""

    gigabytes_per_s: PositiveFloat
    """Memory bandwidth, of the data sheet."""
    tflops: PositiveFloat
    """Arithmetic in the format's precision, of the data sheet."""
    hour: float = Field(ge=0)
    """Its price."""
    bandwidth_share: float = Field(default=0.6, gt=0, le=1)
    """Of the data sheet's, that decoding gets."""
    flops_share: float = Field(default=0.4, gt=0, le=1)
    """The same of arithmetic."""


class ServingEstimate(Schema):
    """bytes, seconds, tokens a second of answers, and money; `formulas` with the numbers put in."""

    weights_bytes: int
    kv_bytes: int
    memory_bytes: int
    step_s: float
    bound_by: Literal["memory", "arithmetic"]
    prompt_s: float
    tokens_per_s: float
    requests_per_s: float
    machines: int
    price_per_million: float
    formulas: list[str]


def estimate_serving(model: ServedModel, load: Load, machine: Machine, format: Format) -> ServingEstimate:
    """One machine busy all the time; with a stated load as many as it takes, paid for whether busy or not."""
    weights = model.parameters * BITS[format] / 8
    per_token = 2 * model.layers * model.kv_heads * model.head_dim * KV_BYTES
    longest = load.prompt_tokens + load.answer_tokens
    kv = load.at_once * longest * per_token
    mean_context = load.prompt_tokens + load.answer_tokens / 2
    bandwidth = machine.gigabytes_per_s * 1e9 * machine.bandwidth_share
    flops = machine.tflops * 1e12 * machine.flops_share
    reading = (weights + load.at_once * mean_context * per_token) / bandwidth
    computing = 2 * model.parameters * load.at_once / flops
    step = max(reading, computing)
    prompt = 2 * model.parameters * load.prompt_tokens / flops
    seconds = load.at_once * prompt + load.answer_tokens * step
    tokens_per_s = load.at_once * load.answer_tokens / seconds
    wanted = load.requests_per_s * load.answer_tokens if load.requests_per_s else tokens_per_s
    machines = math.ceil(wanted / tokens_per_s - 1e-9)
    price = machines * machine.hour / 3600 / wanted * 1e6
    return ServingEstimate(
        weights_bytes=round(weights),
        kv_bytes=round(kv),
        memory_bytes=round(weights + kv),
        step_s=step,
        bound_by="memory" if reading >= computing else "arithmetic",
        prompt_s=prompt,
        tokens_per_s=tokens_per_s,
        requests_per_s=tokens_per_s / load.answer_tokens,
        machines=machines,
        price_per_million=price,
        formulas=[
            f"weights = parameters · bits / 8 = {model.parameters:,} · {BITS[format]:g} / 8 = {weights / 1e6:,.3g} MB",
            f"keys and values = at_once · (prompt + answer) · 2 · layers · kv_heads · head_dim · {KV_BYTES} = "
            f"{load.at_once} · {longest:,} · {per_token:,} = {kv / 1e6:,.3g} MB",
            f"step = max(bytes read / bandwidth, 2 · parameters · at_once / FLOP/s) = max({reading * 1e3:.3g} ms, "
            f"{computing * 1e3:.3g} ms)",
            f"prompt = 2 · parameters · prompt tokens / FLOP/s = {prompt * 1e3:.3g} ms",
            f"tokens/s = at_once · answer / (at_once · prompt + answer · step) = {tokens_per_s:,.0f}",
            f"money for a million = machines · hour / 3600 / tokens/s · 10⁶ = {machines} · {machine.hour:g} / 3600 / "
            f"{wanted:,.0f} · 10⁶ = {price:.4g}",
        ],
    )
