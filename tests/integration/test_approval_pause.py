"""A person approves in Prefect: the flow pauses, a form is filled in, and only a yes moves the champion."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.promotion.journal import Journal

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
MODEL = "gristmill"


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=90):
        yield


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow with version 1 as champion, and version 2, which passed the gate and waits."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    client.create_registered_model(MODEL)
    for number in ("1", "2"):
        tags = {"gristmill.artifact": f"checkpoint/align-{number}"}
        client.create_model_version(MODEL, source=str(tmp_path), tags=tags)
    client.set_registered_model_alias(MODEL, "champion", "1")
    monkeypatch.setattr("tasks.tracking._client", lambda: client)
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("GRISTMILL_STORE", raising=False)
    judged = {"version": "2", "checkpoint": "checkpoint/align-2", "over": "checkpoint/align-1", "model": MODEL}
    Journal(tmp_path, MODEL).append("judged", **judged, passed=True, approval="required", rules=[])
    return client


def fill_in_the_form(answer: dict[str, Any], seen: list[Any]) -> None:
    """What a person does in the UI: wait for the pause, then resume with an answer."""
    from prefect.client.orchestration import get_client
    from prefect.flow_runs import resume_flow_run

    with get_client(sync_client=True) as client:
        for _ in range(600):
            paused = [run for run in client.read_flow_runs() if run.state and run.state.is_paused()]
            if paused:
                seen.append(paused[0].name)
                resume_flow_run(paused[0].id, run_input=answer)
                return
            time.sleep(0.1)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("approve", [True, False])
def test_the_flow_asks_and_obeys(registry: Any, tmp_path: Path, approve: bool):
    from flows.cli.deployed import promote
    from flows.cli.deployments import PromoteSettings

    seen: list[Any] = []
    person = threading.Thread(target=fill_in_the_form, args=({"by": "Ada", "approve": approve}, seen))
    person.start()
    promote(PromoteSettings(model=MODEL, version="2", wait_s=120))
    person.join(timeout=10)
    assert seen == [f"promote-{MODEL}-2"]
    aliases = {name: str(version) for name, version in registry.get_registered_model(MODEL).aliases.items()}
    entries = Journal(tmp_path, MODEL).read()
    if approve:
        assert aliases == {"champion": "2", "previous": "1"}
        assert [(entry["event"], entry.get("by")) for entry in entries[1:]] == [("begin", "Ada"), ("done", None)]
        assert registry.get_model_version(MODEL, "2").tags["gristmill.approved_by"] == "Ada"
    else:
        assert aliases == {"champion": "1"}
        assert len(entries) == 1
