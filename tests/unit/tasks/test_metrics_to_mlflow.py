"""Rows of metrics.jsonl on their way to MLflow: every number passes, what is no finite number never does."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gristmill.metrics import MetricsWriter
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe, Record
from gristmill.undelivered import Undelivered
from tasks import tracking
from tasks.tracking import MlflowFailed, StageRun


class Client:
    """Takes what would be sent to MLflow."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float, int]] = []
        self.artifacts: list[str] = []
        self.status = "RUNNING"
        self.is_away = self.is_deleted = False
        self.hangs_s = 0.0

    def log_batch(self, run_id: str, *, metrics: list[Any]) -> None:
        time.sleep(self.hangs_s)
        self._answer()
        self.sent += [(metric.key, metric.value, metric.step) for metric in metrics]

    def log_artifact(self, run_id: str, path: str) -> None:
        self._answer()
        self.artifacts.append(Path(path).name)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._answer()

    def set_terminated(self, run_id: str, status: str) -> None:
        self._answer()
        self.status = status

    def get_run(self, run_id: str) -> Any:
        if not self.is_deleted:  # such a run can still be read
            self._answer()
        return SimpleNamespace(data=SimpleNamespace(metrics={name: value for name, value, _ in self.sent}))

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return [SimpleNamespace(key=key, step=step) for key, _, step in self.sent if key == name]

    def _answer(self) -> None:
        if self.is_away:
            raise MlflowFailed("connection refused", status=503, error_code="INTERNAL_ERROR")
        if self.is_deleted:
            raise MlflowFailed("must be in the 'active' state", status=400, error_code="INVALID_PARAMETER_VALUE")


@pytest.fixture
def client() -> Client:
    return Client()


def test_numbers_pass_under_their_names_and_others_do_not(client, tmp_path: Path):
    run = StageRun(client, "run", Undelivered(tmp_path))
    with MetricsWriter(tmp_path / "metrics.jsonl") as metrics:
        metrics.write(1, {"loss": float("nan"), "grad_norm": float("inf"), "grad_norm_matrix": 2.0, "lr_matrix": 0.5})
        metrics.write(2, {"bits_per_byte": 1.5, "train_validation_gap": -0.25, "epoch": 1.0})
    run._forward(tmp_path / "metrics.jsonl")
    expected = {("grad_norm_matrix", 2.0, 1), ("lr_matrix", 0.5, 1)}
    expected |= {("bits_per_byte", 1.5, 2), ("train_validation_gap", -0.25, 2), ("epoch", 1.0, 2)}
    assert set(client.sent) == expected


def test_a_row_is_sent_once_also_when_a_resumed_run_rewrites_the_file(client, tmp_path: Path):
    run, path = StageRun(client, "run", Undelivered(tmp_path)), tmp_path / "metrics.jsonl"
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


def published(store: ArtifactStore, losses: list[float]) -> Record:
    recipe = Recipe(kind="checkpoint", stage="pretrain", version=1, config={}, inputs={})
    report = Report(rows_in=1, rows_out=1, metrics={"bits_per_byte": 2.0, "loss": losses[-1]})
    with store.building(recipe.address) as draft:
        with MetricsWriter(draft / "metrics.jsonl") as metrics:
            for step, loss in enumerate(losses, 1):
                metrics.write(step, {"loss": loss})
        return store.publish(draft, recipe, report, label="pretrain", run="r", seconds=1.0)


def test_what_an_mlflow_that_was_away_did_not_get_is_delivered_later_and_once(
    client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = ArtifactStore(tmp_path)
    record, left = published(store, [3.0, 2.0, 1.0]), Undelivered(tmp_path)
    folder = store.path(record.address)
    run = StageRun(client, "run", left)
    run.log_rows([{"step": 1, "loss": 3.0}])  # while it trained
    client.is_away = True
    with pytest.raises(MlflowFailed):
        run.finish(record, store.report(record.address), folder)
    monkeypatch.setattr(tracking, "mlflow_client", lambda: client)
    tracking.deliver_left(store)
    assert dict(left.left()) == {"run": record.address}, "still away"
    client.is_away = False
    tracking.deliver_left(store)
    tracking.deliver_left(store)
    assert [(step, value) for key, value, step in client.sent if key == "loss"] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert [value for key, value, _ in client.sent if key == "bits_per_byte"] == [2.0]
    assert client.artifacts == ["report.json", "record.json"]
    assert (client.status, dict(left.left())) == ("FINISHED", {})


def test_a_run_that_was_deleted_in_mlflow_is_given_up(client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, left = ArtifactStore(tmp_path), Undelivered(tmp_path)
    record = published(store, [3.0, 2.0])
    with left.delivering("run", record.address):
        pass
    monkeypatch.setattr(tracking, "mlflow_client", lambda: client)
    client.is_deleted = True
    tracking.deliver_left(store)
    assert dict(left.left()) == {}


def test_a_finished_training_waits_five_seconds_for_an_mlflow_that_hangs(
    client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracking, "POLL_EVERY_S", 0.05)
    monkeypatch.setattr(tracking, "WAIT_S", 0.3)  # of 5
    store = ArtifactStore(tmp_path)
    record, left = published(store, [3.0]), Undelivered(tmp_path)
    folder = store.path(record.address)
    client.hangs_s = 3.0
    run = StageRun(client, "run", left)
    with run.following(folder / "metrics.jsonl"):
        time.sleep(0.2)
        ended = time.monotonic()
    assert time.monotonic() - ended < 1.0
    with pytest.raises(TimeoutError):
        run.finish(record, store.report(record.address), folder)
    assert dict(left.left()) == {"run": record.address}


def test_a_run_is_delivered_by_one_process_at_a_time_and_one_that_is_gone_is_passed_over(tmp_path: Path):
    mine, other = Undelivered(tmp_path), Undelivered(tmp_path)
    with mine.delivering("a", "checkpoint/a"):
        assert dict(other.left()) == {}
    for run in "bc":
        with mine.delivering(run, f"checkpoint/{run}"):
            pass
    taken = mine.left()
    assert next(taken) == ("a", "checkpoint/a")
    assert dict(other.left()) == {"b": "checkpoint/b", "c": "checkpoint/c"}
    other.delivered("b")  # listed by `taken` already
    assert list(taken) == [("c", "checkpoint/c")]
