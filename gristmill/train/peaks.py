"""What a device can compute at most. torch is not needed: a plan asks too."""

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


def peak_of_name(name: str, *, precision: str) -> float | None:
    """FLOP/s of a device that calls itself so. `NVIDIA A100-SXM4-80GB` is an A100, `NVIDIA L40` no L4."""
    known = [each for each in PEAK_TFLOPS if name == each or name.startswith((f"{each} ", f"{each}-"))]
    if not known:
        return None
    bf16, fp32 = PEAK_TFLOPS[max(known, key=len)]
    return (bf16 if precision == "bf16" else fp32) * 1e12
