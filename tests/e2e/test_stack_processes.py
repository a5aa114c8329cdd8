"""The stack of docker-compose.yml as processes: a deployment's run on a worker ends in a promoted model, and Postgres
may die under the next one."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import fsspec
import httpx
import pytest
from stack_processes import Stack, missing, wait_for
from workplace import MICRO

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(missing() is not None, reason=missing() or "complete"),
]

MODEL = "stacked"
DEPLOYMENTS = """
deployments:
  - name: micro
    flow: pipeline
    settings: {{config: {config}, overrides: [register.model={model}], retry_after_s: [5, 20]}}
"""
START = """
import json, sys
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    deployment = client.read_deployment_by_name("pipeline/micro")
    settings = deployment.parameters["settings"] | json.loads(sys.argv[1])
    print(client.create_flow_run_from_deployment(deployment.id, parameters={"settings": settings}).id)
"""
REGISTRY = """
import json, sys
from mlflow.client import MlflowClient
client = MlflowClient()
model = client.get_registered_model(sys.argv[1])
version = client.get_model_version_by_alias(sys.argv[1], "champion")
found = {"aliases": model.aliases, "artifact": version.tags["gristmill.artifact"]}
print(json.dumps(found | {"uri": client.get_run(version.run_id).info.artifact_uri}))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    deployments = folder / "deployments.yaml"
    deployments.write_text(DEPLOYMENTS.format(config=MICRO, model=MODEL))
    with Stack(folder) as running:
        running.deploy(deployments)
        yield running


def asked(stack: Stack, program: str, *arguments: str) -> str:
    """What a program says that a worker could have run."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=stack.environment("worker-cpu"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def finished(stack: Stack, number: str) -> str:
    """The name of the state in which a flow run ended."""
    user, _, password = stack.secrets["PREFECT_AUTH"].partition(":")
    began = time.monotonic()

    def final() -> str | None:
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{stack.url('prefect')}/api/flow_runs/{number}", auth=(user, password), timeout=30)
            state = answer.raise_for_status().json()["state"]
            return state["name"] if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    state = wait_for(final, 1200, every_s=2)
    print(f"flow run {number}: {state} after {time.monotonic() - began:.0f} s", flush=True)
    return state


def last_run(stack: Stack) -> dict[str, Any]:
    (path,) = (stack.folder / "artifacts" / ".remote").glob("*/last_run.json")
    return json.loads(path.read_text())


def weights(stack: Stack, address: str) -> str:
    """Hash of a model, as the worker has it."""
    (path,) = (stack.folder / "artifacts" / ".remote").glob(f"*/{address}/model.safetensors")
    return sha256(path.read_bytes()).hexdigest()


def stored(stack: Stack, prefix: str) -> list[str]:
    given = stack.environment("worker-cpu")
    options: dict[str, Any] = {
        "endpoint_url": given["AWS_ENDPOINT_URL"],
        "key": given["AWS_ACCESS_KEY_ID"],
        "secret": given["AWS_SECRET_ACCESS_KEY"],
        "skip_instance_cache": True,
    }
    return fsspec.filesystem("s3", **options).find(f"gristmill/{prefix}")


def test_a_deployment_ends_in_a_promoted_model(stack: Stack):
    assert finished(stack, asked(stack, START, "{}")) == "Completed"
    run = last_run(stack)
    assert run["error"] is None
    assert {stage["state"] for stage in run["stages"]} == {"built"}
    assert run["model"] == {"name": MODEL, "version": "1", "aliases": ["challenger", "champion"]}
    registered = json.loads(asked(stack, REGISTRY, MODEL))
    print(json.dumps(registered), flush=True)
    assert registered["aliases"] == {"challenger": "1", "champion": "1"}
    keys = {stage["stage"]: stage["key"] for stage in run["stages"]}
    assert registered["artifact"] == keys["align"]
    # artifacts and the registry's model are in the object store, nothing of them on the worker's disk alone
    objects = stored(stack, "artifacts")
    for key in keys.values():
        assert any(f"/{key}" in name for name in objects), key
    assert any(name.endswith("model.safetensors") for name in stored(stack, "mlflow"))


def test_records_are_in_postgres_and_messages_go_through_redis(stack: Stack):
    assert stack.psql("SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'", database="prefect") == "1"
    assert int(stack.psql("SELECT count(*) FROM task_run", database="prefect")) == len(last_run(stack)["stages"])
    assert stack.psql("SELECT name FROM registered_models", database="mlflow") == MODEL
    assert "events" in stack.redis("keys", "*")


def test_postgres_dies_in_a_training_and_comes_back(stack: Stack):
    """Prefect and MLflow lose their database for some seconds; the run ends as it would have."""
    before = {stage["stage"]: stage["key"] for stage in last_run(stack)["stages"]}
    trained = weights(stack, before["align"])
    number = asked(stack, START, json.dumps({"refresh": ["pretrain"]}))
    drafts = stack.folder / "artifacts" / ".remote"
    wait_for(lambda: list(drafts.glob("*/.drafts/checkpoint.pretrain-*/metrics.jsonl")), every_s=0.05)
    stack.kill_postgres()
    time.sleep(10)
    stack.start_postgres()
    assert finished(stack, number) == "Completed"
    run = last_run(stack)
    assert run["error"] is None
    assert {stage["stage"]: stage["key"] for stage in run["stages"]} == before
    assert next(stage["state"] for stage in run["stages"] if stage["stage"] == "align") == "built"
    assert weights(stack, before["align"]) == trained
    verified = stack.once("worker-cpu", [sys.executable, "-m", "flows.cli.main", "artifacts", "verify"])
    assert "rebuilt" not in verified
    registered = json.loads(asked(stack, REGISTRY, MODEL))
    assert registered["artifact"] == before["align"]
    assert registered["aliases"]["champion"] == run["model"]["version"]
