"""A password in a server's address reaches neither the terminal nor what Prefect keeps of a failure, posts and logs."""

import traceback
from pathlib import Path

import pytest
import requests

from flows.cli.run import _explain
from gristmill.artifacts import Checkpoint
from gristmill.report import Report
from gristmill.schema import StageConfig
from gristmill.store import ArtifactStore
from tasks import tracking
from tasks.registry import Registry
from tasks.stage import Session, StageFailed, session, stage

SECRET = "pl@nted-secret"


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect.task", lambda **options: lambda function: function)
    monkeypatch.setattr("tasks.progress_artifact.progress_artifact", lambda label: tracking.nullcontext())


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLflow with a password, where nobody listens."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{SECRET}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class Broken(Exception):
    """Of no kind that speaks for itself, so its traceback is shown."""


@stage(produces=Checkpoint, version=1)
def learn(out: Path, config: StageConfig) -> Report:
    raise Broken(f"cannot ask http://ann:{SECRET}@store:5000/x")


def test_a_stage_that_fails_says_where_and_why_and_nothing_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    opened = Session(store=ArtifactStore(tmp_path), planning=False, run="run")
    with session(opened), pytest.raises(StageFailed, match="learn: cannot ask http://store:5000/x") as caught:
        learn(config=StageConfig())
    assert SECRET not in told(caught.value)
    assert "in learn" in told(caught.value), "the traceback of the cause"
    _explain(caught.value)
    shown = capsys.readouterr().err
    assert "learn stopped: cannot ask http://store:5000/x" in shown
    assert "in learn" in shown
    assert SECRET not in shown


def test_an_mlflow_that_is_away_is_named_without_its_password(tmp_path: Path):
    store = ArtifactStore(tmp_path)

    def build() -> None:
        opened = Session(store=store, planning=False, run="run")
        with session(opened), tracking.tracked_run("run", "nightly", store):
            learn(config=StageConfig())

    for ask in (
        build,
        lambda: tracking.ParentRun("run", "nightly", store).open(),
        lambda: tracking.mlflow_client().log_artifact("0" * 32, __file__),
        lambda: Registry().aliases("gristmill"),
        lambda: Registry().tag("gristmill", "1", "key", "value"),
    ):
        with pytest.raises(RuntimeError, match=r"MLflow at http://127\.0\.0\.1:9 failed at ") as caught:
            ask()
        assert SECRET not in told(caught.value)


def test_an_answer_of_http_keeps_its_status_and_loses_the_password():
    answer = requests.Response()
    answer.status_code, answer.url = 403, f"http://ann:{SECRET}@mlflow/x"
    with pytest.raises(tracking.MlflowFailed) as caught, tracking.explained("log_artifact"):
        answer.raise_for_status()
    assert caught.value.status == 403
    assert SECRET not in told(caught.value)
