"""What the trainings of a ladder measured, read from their checkpoints."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gristmill.model.config import ModelConfig
from gristmill.report import Report
from gristmill.train.comparable import check_one_precision
from gristmill.train.cost import flops_per_token, scaling_parameters


@dataclass(frozen=True)
class RungResult:
    """One trained rung. `parameters` are those that cost (layers and output matrix); `bits`: validation bits per byte;
    `speed`: tokens in a second of the training process, the median of what it logged."""

    name: str
    depth: int
    width: int
    parameters: int
    tokens: int
    flops: float
    bits: float
    epochs: float
    speed: float
    vocab_size: int
    seq_len: int

    @property
    def flops_per_s(self) -> float:
        return self.speed * self.flops / self.tokens


def read_results(rungs: Mapping[str, Path]) -> list[RungResult]:
    """Results of checkpoints by name, the smallest and shortest first.

    Raises ValueError when one lacks a number, or when they were trained in different precisions.
    """
    check_one_precision("scaling", {name: _report(folder).details.get("precision") for name, folder in rungs.items()})
    return sorted((_read(name, folder) for name, folder in rungs.items()), key=lambda rung: (rung.depth, rung.tokens))


def _read(name: str, folder: Path) -> RungResult:
    report = _report(folder)
    shape = ModelConfig.model_validate(json.loads((folder / "run.yaml").read_text())["model"]).shape
    sizes = json.loads((folder / "config.json").read_text())
    vocab_size, seq_len = sizes["vocab_size"], sizes.get("max_position_embeddings") or sizes["n_positions"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    speeds = [row["tokens_per_s"] for row in rows if "tokens_per_s" in row]
    if not speeds or "bits_per_byte" not in report.metrics:
        raise ValueError(
            f"{folder} has no speed or no bits per byte; train rung {name} again: --refresh pretrain[{name}]"
        )
    return RungResult(
        name=name,
        depth=shape.depth,
        width=shape.width,
        parameters=scaling_parameters(shape, vocab_size),
        tokens=report.rows_out,
        flops=float(report.rows_out * flops_per_token(shape, vocab_size, seq_len)),
        bits=report.metrics["bits_per_byte"],
        epochs=report.metrics["epochs"],
        speed=statistics.median(speeds),
        vocab_size=vocab_size,
        seq_len=seq_len,
    )


def _report(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report.json").read_bytes())
