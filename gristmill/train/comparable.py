"""Trainings that are compared must differ in nothing but what is compared."""

from collections.abc import Mapping


def check_one_precision(flow: str, precisions: Mapping[str, str | None]) -> None:
    """precisions: by the training's name, as its report has it; None where an older report has none.

    Raises ValueError where they differ: `precision: auto` follows the device, and machines may share a store.
    """
    names: dict[str, list[str]] = {}
    for name, precision in precisions.items():
        if precision is not None:
            names.setdefault(precision, []).append(name)
    if len(names) > 1:
        found = "; ".join(f"{precision}: {', '.join(names[precision])}" for precision in sorted(names))
        raise ValueError(
            f"{flow}: trained in different precisions ({found}), so their bits per byte do not compare; set "
            "pretrain.precision to bf16 or fp32, and those of the other precision are trained again"
        )
