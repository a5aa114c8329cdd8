"""Rows of metrics.jsonl on their way to MLflow: every number passes, what is no finite number never does."""

import json
from pathlib import Path
from typing import Any

import pytest

from gristmill.metrics import MetricsWriter
from tasks.tracking import StageRun


class Client:
    """Takes what would be sent to MLflow."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float, int]] = []

    def log_batch(self, run_id: str, *, metrics: list[Any]) -> None:
        self.sent += [(metric.key, metric.value, metric.step) for metric in metrics]


@pytest.fixture
def client() -> Client:
    return Client()


def test_numbers_pass_under_their_names_and_others_do_not(client, tmp_path: Path):
    run = StageRun(client, "run")
    with MetricsWriter(tmp_path / "metrics.jsonl") as metrics:
        metrics.write(1, {"loss": float("nan"), "grad_norm": float("inf"), "grad_norm_matrix": 2.0, "lr_matrix": 0.5})
        metrics.write(2, {"bits_per_byte": 1.5, "train_validation_gap": -0.25, "epoch": 1.0})
    run._forward(tmp_path / "metrics.jsonl")
    expected = {("grad_norm_matrix", 2.0, 1), ("lr_matrix", 0.5, 1)}
    expected |= {("bits_per_byte", 1.5, 2), ("train_validation_gap", -0.25, 2), ("epoch", 1.0, 2)}
    assert set(client.sent) == expected


def test_a_row_is_sent_once_also_when_a_resumed_run_rewrites_the_file(client, tmp_path: Path):
    run, path = StageRun(client, "run"), tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        metrics.write(1, {"loss": 3.0, "mfu": 0.25})
        metrics.write(2, {"loss": 2.0, "mfu": 0.5})
    run._forward(path)
    with MetricsWriter(path, last_step=1) as metrics:  # step 2 was lost with a kill
        metrics.write(2, {"loss": 2.0, "mfu": 0.375})
        metrics.write(3, {"loss": 1.0})
    run._forward(path)
    assert [(key, step) for key, _, step in client.sent if key == "loss"] == [("loss", 1), ("loss", 2), ("loss", 3)]
    assert all(json.loads(line) for line in path.read_text().splitlines())
