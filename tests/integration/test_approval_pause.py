"""A person approves in Prefect: the flow ends its process, a form is filled in, and only a yes moves the champion."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flows.cli import automations, deployed, schedule
from flows.cli.deployments import Deployments
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
    monkeypatch.setattr("tasks.registry.mlflow_client", lambda: client)
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("GRISTMILL_STORE", raising=False)
    judged = {"version": "2", "checkpoint": "checkpoint/align-2", "over": "checkpoint/align-1", "model": MODEL}
    Journal(tmp_path, MODEL).append("judged", **judged, passed=True, approval="required", rules=[])
    return client


def deployed_run() -> UUID:
    """A run of the deployment, as the event of a challenger starts it."""
    from prefect.client.orchestration import get_client

    promotion = {"deployments": [{"name": "promote", "flow": "promote"}]}
    (deployment,) = schedule.prepare(Deployments.model_validate(promotion))
    settings = {"model": MODEL, "version": "2", "wait_s": 120}
    with get_client(sync_client=True) as client:
        deployment_id = UUID(str(deployment.apply()))
        return client.create_flow_run_from_deployment(deployment_id, parameters={"settings": settings}).id


def started(flow_run: UUID) -> Any:
    """What the process that a runner starts for it does; its state when the process is done with it."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import Pause
    from prefect.flow_engine import run_flow

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run)
        with suppress(Pause):  # the process ends
            run_flow(deployed.promote, flow_run=run, parameters=run.parameters, return_type="state")
        return client.read_flow_run(flow_run).state


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("approve", [True, False])
def test_the_flow_asks_and_obeys(registry: Any, tmp_path: Path, approve: bool):
    from prefect.flow_runs import resume_flow_run

    flow_run = deployed_run()
    waiting = started(flow_run)
    assert (waiting.type.value, waiting.name) == ("PAUSED", "Suspended")
    assert len(Journal(tmp_path, MODEL).read()) == 1
    # what a person does in the UI, while no process is there
    resume_flow_run(flow_run, run_input={"by": "Ada", "approve": approve})
    assert started(flow_run).type.value == "COMPLETED"
    aliases = {name: str(version) for name, version in registry.get_registered_model(MODEL).aliases.items()}
    entries = Journal(tmp_path, MODEL).read()
    if approve:
        assert aliases == {"champion": "2", "previous": "1"}
        assert [(entry["event"], entry.get("by")) for entry in entries[1:]] == [("begin", "Ada"), ("done", None)]
        assert registry.get_model_version(MODEL, "2").tags["gristmill.approved_by"] == "Ada"
    else:
        assert aliases == {"champion": "1"}
        assert len(entries) == 1


@pytest.mark.usefixtures("prefect_server")
def test_notices_end_where_the_schedule_has_no_address_any_more(monkeypatch: pytest.MonkeyPatch):
    from prefect.client.orchestration import get_client

    def there() -> tuple[list[str], list[str]]:
        with get_client(sync_client=True) as client:
            names = [each.name for each in client.read_automations() if each.name.startswith(automations.PREFIX)]
            notices = [name for name in names if name.removeprefix(automations.PREFIX) in automations.NOTICES]
            return sorted(notices), [block.name for block in client.read_block_documents() if block.name]

    monkeypatch.setenv("GRISTMILL_PRIVATE_NETWORKS", "127.0.0.1")
    monkeypatch.setenv("GRISTMILL_WEBHOOK_URL", "http://127.0.0.1:9/hook?token=s3cret")
    automations.ensure_automations(ends_notices=True)
    told = there()
    assert told == (sorted(automations.PREFIX + name for name in automations.NOTICES), [automations.WEBHOOK_BLOCK])
    monkeypatch.delenv("GRISTMILL_WEBHOOK_URL")
    automations.ensure_automations(ends_notices=False)  # a run by hand
    assert there() == told
    for _ in range(2):
        automations.ensure_automations(ends_notices=True)
        assert there() == ([], [])
