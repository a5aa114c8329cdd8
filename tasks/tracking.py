"""Runs in MLflow: one parent run a flow run, a child for each built stage. tasks/registry.py has the models.

MLflow is imported when the first stage is built, so a run that reuses everything is done without. Metrics go out in
batches; a value that is not finite never does.
"""

import json
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gristmill.addresses import without_secrets
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe, Record
from gristmill.undelivered import Undelivered

EXPERIMENT = "gristmill"
POLL_EVERY_S = 3.0
PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses of HTTP that another attempt may not get."""
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How MLflow says that something is not there; the second also for a run that was deleted, and for an alias."""
WAIT_S = 5.0
"""So long a finished training waits for metrics that are on their way."""


class MlflowFailed(RuntimeError):
    """MLflow did not do what it was asked. Its own exceptions repeat its address with the password, so they go no
    further than here. status: of HTTP, or the one that fits; error_code: MLflow's."""

    def __init__(self, message: str, *, status: int, error_code: str) -> None:
        super().__init__(message)
        self.status, self.error_code = status, error_code


class ParentRun:
    """The MLflow run of one flow run, opened when its first stage is built."""

    def __init__(self, name: str, config: str, store: ArtifactStore) -> None:
        self.name, self.config, self.store = name, config, store
        self.run_id: str | None = None
        self._opening = threading.Lock()  # stages may run side by side

    def open(self) -> str:
        with self._opening:
            if self.run_id is None:
                client = mlflow_client()
                experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
                known = client.get_experiment_by_name(experiment)
                experiment_id = known.experiment_id if known else client.create_experiment(experiment)
                run = client.create_run(experiment_id, run_name=self.name, tags={"gristmill.config": self.config})
                self.run_id = str(run.info.run_id)
            return self.run_id


_parent: ContextVar[ParentRun | None] = ContextVar("parent_run", default=None)


@contextmanager
def tracked_run(name: str, config: str, store: ArtifactStore) -> Iterator[ParentRun]:
    """Stages built inside the block become children of one MLflow run, which ends as the block does.

    What an MLflow that was away did not get of earlier stages is delivered first.
    """
    deliver_left(store)
    parent = ParentRun(name, config, store)
    token = _parent.set(parent)
    status = "FAILED"
    try:
        yield parent
        status = "FINISHED"
    finally:
        _parent.reset(token)
        if parent.run_id:
            _end(mlflow_client(), parent.run_id, status)


class StageRun:
    """The MLflow run of one built stage."""

    def __init__(self, client: Any, run_id: str, left: Undelivered) -> None:
        self.client, self.run_id, self.left = client, run_id, left
        self.last_step = 0
        self.sent: set[tuple] = set()
        self.is_there: set[tuple[str, int]] = set()
        """Name and step of what MLflow has: all of an earlier attempt to deliver, and the last steps of this one."""
        self.is_stuck = False

    def log_rows(self, rows: list[dict[str, Any]]) -> None:
        """Rows of metrics.jsonl: {"step": …, name: value}; values that are not finite numbers are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, int(row.get("step", 0)))
            for row in rows
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float) and math.isfinite(value)
        ]
        metrics = [metric for metric in metrics if (metric.key, metric.step) not in self.is_there]
        self.last_step = max([self.last_step, *(int(row.get("step", 0)) for row in rows)])
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + 1000])
        # the closing row states values that the last step's row may have stated
        self.is_there |= {(metric.key, metric.step) for metric in metrics if metric.step == self.last_step}

    @contextmanager
    def following(self, path: Path) -> Iterator[None]:
        """Forward what is appended to a metrics file, in a thread of its own: training never waits for MLflow.

        While MLflow is away lines stay where they are; `finish` delivers what is left.
        """
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(POLL_EVERY_S):
                with suppress(Exception):
                    self._forward(path)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(WAIT_S)
            self.is_stuck = thread.is_alive()

    def _forward(self, path: Path) -> None:
        """Send the rows that were not sent yet: a resumed program rewrites its file, so positions would lie."""
        lines = path.read_bytes().split(b"\n")[:-1]  # a line still being written waits for the next round
        rows = [json.loads(line) for line in lines if line]
        new = {(row["step"], *sorted(row)): row for row in rows if (row["step"], *sorted(row)) not in self.sent}
        self.log_rows(list(new.values()))
        self.sent |= new.keys()

    def finish(self, record: Record, report: Report, folder: Path) -> None:
        """Log what the finished stage says about itself, and where its artifact is."""
        with self.left.delivering(self.run_id, record.address):
            self._deliver(record, report, folder)

    def finish_later(self, record: Record, report: Report, folder: Path) -> None:
        """The same for a run that MLflow has a part of."""
        names = self.client.get_run(self.run_id).data.metrics
        histories = [self.client.get_metric_history(self.run_id, name) for name in names]
        self.is_there = {(point.key, point.step) for history in histories for point in history}
        self._deliver(record, report, folder)

    def _deliver(self, record: Record, report: Report, folder: Path) -> None:
        if self.is_stuck:
            raise TimeoutError(f"MLflow has not answered for {WAIT_S:.0f} s")
        if (folder / "metrics.jsonl").exists():
            self._forward(folder / "metrics.jsonl")
        counts = {"rows_in": report.rows_in, "rows_out": report.rows_out, "seconds": record.seconds}
        # at the last step, so that a final value continues its series instead of opening it
        self.log_rows([{"step": self.last_step, **counts, **report.metrics}])
        self.client.set_tag(self.run_id, "gristmill.artifact", record.address)
        self.client.log_artifact(self.run_id, str(folder / "report.json"))
        self.client.log_artifact(self.run_id, str(folder / "record.json"))


class _Untracked:
    """Stands in where no MLflow run is open: a stage called from a test or a notebook."""

    def following(self, path: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def finish(self, record: Record, report: Report, folder: Path) -> None:
        return None


@contextmanager
def stage_run(label: str, recipe: Recipe) -> Iterator[StageRun | _Untracked]:
    """The child run of a stage that is being built."""
    parent = _parent.get()
    if parent is None:
        yield _Untracked()
        return
    try:
        client, parent_id = mlflow_client(), parent.open()
        experiment_id = client.get_run(parent_id).info.experiment_id
        tags = {"mlflow.parentRunId": parent_id, "gristmill.artifact": recipe.address, "gristmill.stage": label}
        left = Undelivered(parent.store.root)
        run = StageRun(client, client.create_run(experiment_id, run_name=label, tags=tags).info.run_id, left)
        _log_params(run, recipe)
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        finally:
            _end(client, run.run_id, status)
        left.delivered(run.run_id)
    except (MlflowFailed, TimeoutError) as error:
        raise RuntimeError(f"{label}: {error}; what was built is kept, run again") from error


def deliver_left(store: ArtifactStore) -> None:
    """Deliver what was left of finished stages when MLflow was away, each metric once; what fails again stays.

    A run that MLflow no longer knows, or whose artifact is gone, is given up.
    """
    left = Undelivered(store.root)
    for run_id, address in left.left():
        if _is_delivered(store, address, StageRun(mlflow_client(), run_id, left)):
            left.delivered(run_id)


def _is_delivered(store: ArtifactStore, address: str, run: StageRun) -> bool:
    """Deliver what can be; whether nothing is left to deliver."""
    try:
        if record := store.find(address):
            run.finish_later(record, store.report(address), store.file(address, "report.json").parent)
            run.client.set_terminated(run.run_id, "FINISHED")
    except MlflowFailed as error:
        return error.error_code in MISSING
    return True


def _end(client: Any, run_id: str, status: str) -> None:
    # when a run failed, that MLflow cannot be told about it must not hide why
    with suppress(Exception) if status == "FAILED" else nullcontext():
        client.set_terminated(run_id, status)


def _log_params(run: StageRun, recipe: Recipe) -> None:
    from mlflow.entities import Param

    flat = {"version": recipe.version, **recipe.inputs, **recipe.config}
    params = [
        Param(name, (value if isinstance(value, str) else json.dumps(value))[:6000]) for name, value in flat.items()
    ]
    run.client.log_batch(run.run_id, params=params)


def log_to_parent(path: Path) -> None:
    """Keep a file with the MLflow run of this flow run, where one was opened: a run that only reused has none."""
    parent = _parent.get()
    if parent and parent.run_id:
        mlflow_client().log_artifact(parent.run_id, str(path))


def parent_run_id() -> str | None:
    """Of the MLflow run that the caller belongs to, opened if need be."""
    parent = _parent.get()
    return parent.open() if parent else None


def mlflow_client() -> Any:
    """MLflow's client, imported at the first call."""
    # an MLflow that is away is an error within seconds, not after minutes of silent retries
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results
    import mlflow

    return ExplainedClient(mlflow.MlflowClient())


class ExplainedClient:
    """MLflow's client, whose failures are MlflowFailed."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def ask(*arguments: Any, **more: Any) -> Any:
            with explained(name):
                return method(*arguments, **more)

        return ask


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Inside the block MLflow is asked; where it fails that is MlflowFailed, which tells no password."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        where = without_secrets(os.environ.get("MLFLOW_TRACKING_URI", "its default place"))
        said = (without_secrets(error) or type(error).__name__).splitlines()[0][:200]
        if isinstance(error, MlflowException):
            status, code = error.get_http_status_code(), error.error_code
        else:
            status, code = (error.response.status_code if error.response is not None else 503), "INTERNAL_ERROR"
        # what MLflow said may hold the password in every line of its traceback, so it is cut off
        raise MlflowFailed(f"MLflow at {where} failed at {what} ({said})", status=status, error_code=code) from None
