"""docker/kubernetes/base-job-template.json: what Prefect's Kubernetes worker would make of it. No cluster is asked."""

import asyncio
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.server import api
from prefect.server.schemas.actions import WorkPoolCreate
from prefect.utilities.templating import apply_values
from ruamel.yaml import YAML

from tasks.launch import GRACE_S

ROOT = Path(__file__).parents[2]
TEMPLATE: dict[str, Any] = json.loads((ROOT / "docker/kubernetes/base-job-template.json").read_text())
VARIABLES: dict[str, dict[str, Any]] = TEMPLATE["variables"]["properties"]
COMMAND = "prefect flow-run execute"


def prefects_own() -> dict[str, Any]:
    """The template that Prefect's server offers for a Kubernetes pool."""
    known = Path(api.__file__).parent / "collections_data/views/aggregate-worker-metadata.json"
    return json.loads(known.read_text())["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]


def job(**chosen: Any) -> dict[str, Any]:
    """The manifest for a deployment with these job variables, as a worker renders it."""
    defaults = {name: each["default"] for name, each in VARIABLES.items() if "default" in each}
    return apply_values(TEMPLATE["job_configuration"], defaults | {"command": COMMAND} | chosen)["job_manifest"]


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    (only,) = manifest["spec"]["template"]["spec"]["containers"]
    return only


def test_the_server_takes_it_for_a_pool():
    pool = WorkPoolCreate(name="cluster", type="kubernetes", base_job_template=TEMPLATE)
    assert pool.base_job_template == TEMPLATE
    without = {**TEMPLATE, "variables": {"properties": {name: VARIABLES[name] for name in VARIABLES if name != "gpus"}}}
    with pytest.raises(ValueError, match="gpus"):
        WorkPoolCreate(name="cluster", type="kubernetes", base_job_template=without)


def test_every_field_and_variable_of_prefects_own_template_is_there():
    theirs = prefects_own()
    assert theirs["job_configuration"].keys() == TEMPLATE["job_configuration"].keys()
    ours = {"gpus", "secret", "home_claim", "shm_size", "working_dir", "grace_s"}
    assert VARIABLES.keys() == theirs["variables"]["properties"].keys() | ours


def test_every_pod_has_the_home_of_the_others():
    """The journal of promotions lies there, and another pod reads it."""
    environment = TEMPLATE["job_configuration"]["env"]
    (mount,) = [each for each in container(job())["volumeMounts"] if each["name"] == "home"]
    assert mount["mountPath"] == environment["GRISTMILL_HOME"]
    for chosen, claim in (({}, "gristmill-home"), ({"home_claim": "shared"}, "shared")):
        (home,) = [each for each in job(**chosen)["spec"]["template"]["spec"]["volumes"] if each["name"] == "home"]
        assert home == {"name": "home", "persistentVolumeClaim": {"claimName": claim}}


def test_no_pod_is_root_or_writes_outside_its_volumes():
    pod = job()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["automountServiceAccountToken"] is False
    locked = container(job())["securityContext"]
    assert locked == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container(job())["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert not any("hostPath" in volume for volume in pod["volumes"])


def test_a_gpu_is_asked_for_only_where_one_is_named():
    assert "nvidia.com/gpu" not in container(job())["resources"]["limits"]
    assert container(job(gpus=1))["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_pod_that_is_stopped_has_time_for_a_checkpoint():
    assert job()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 2 * GRACE_S


def test_deploy_names_the_folder_that_relative_paths_count_from():
    assert container(job(working_dir="/srv"))["workingDir"] == "/srv"


def test_the_environment_and_the_secret_are_those_of_a_worker_of_the_stack():
    stack = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    wanted = set(stack["services"]["worker-cpu"]["environment"])
    secret = VARIABLES["secret"]["description"]
    given = set(TEMPLATE["job_configuration"]["env"]) | {name for name in wanted if name in secret}
    # the worker itself hands on its own PREFECT_API_URL; webhooks are posted by the server
    assert wanted - given == {"PREFECT_API_URL", "GRISTMILL_WEBHOOK_URL", "GRISTMILL_PRIVATE_NETWORKS"}
    assert container(job())["envFrom"] == [{"secretRef": {"name": "gristmill"}}]


@pytest.mark.skipif(find_spec("prefect_kubernetes") is None, reason="prefect-kubernetes is not installed")
def test_prefects_worker_makes_a_job_of_it():
    from prefect.client.schemas.objects import FlowRun
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration  # pyright: ignore[reportMissingImports]

    chosen = {"gpus": 1, "working_dir": "/app", "env": {"GRISTMILL_PRIVATE_NETWORKS": "10.0.0.0/8"}}
    nobody: Any = object()  # a client would be asked for blocks and variables, of which the template names none
    made = asyncio.run(KubernetesWorkerJobConfiguration.from_template_and_values(TEMPLATE, chosen, client=nobody))
    made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="night"))
    inside = container(made.job_manifest)
    environment = {each["name"]: each.get("value") for each in inside["env"]}
    assert inside["args"] == ["prefect", "flow-run", "execute"]
    assert inside["image"] == "gristmill:0.1.0"
    assert environment["GRISTMILL_PRIVATE_NETWORKS"] == "10.0.0.0/8"
    assert environment["GRISTMILL_HOME"] == "/data/artifacts"
    assert environment["PREFECT_HOME"] == "/tmp/prefect"
    # a node that is drained: the run goes back to the queue, and goes on where it stopped
    assert environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
