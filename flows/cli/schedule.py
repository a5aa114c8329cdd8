"""`gristmill schedule` and `gristmill deploy`: deployments.yaml becomes deployments on a Prefect server."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli import workspace
from flows.cli.servers import Endpoints, ServerUnavailable, ensure_prefect, ensure_servers

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

    from flows.cli.deployments import Deployment, Deployments

File = Annotated[
    Path | None, Parameter(name="--deployments", help="Another file than pipeline_configs/deployments.yaml.")
]
Only = Annotated[tuple[str, ...], Parameter(name="--only", negative="", help="This deployment alone; may be repeated.")]


def schedule(*, deployments: File = None, only: Only = ()) -> int:
    """Run the schedules of deployments.yaml in this process, until it is stopped; for one machine."""
    if not _connect(ensure_servers):  # before prefect is imported, which reads where its server is
        return 1
    wanted = _load(deployments, only)
    from prefect import serve

    from flows.cli.liveness import sweep

    made = prepare(wanted)
    for name in sweep(workspace.home()):
        print(f"{name} had no process any more: Crashed", file=sys.stderr, flush=True)
    for deployment in wanted.deployments:
        print(f"{deployment.name}: {deployment.cron or 'by hand or by an event'}", file=sys.stderr, flush=True)
    serve(*made, limit=wanted.runs_at_once, print_starting_message=False)
    return 0


def deploy(
    *,
    pool: Annotated[str, Parameter(help="The work pool whose workers start the runs; made where it is missing.")],
    deployments: File = None,
    only: Only = (),
    working_dir: Annotated[
        Path | None, Parameter(help="Folder on the workers that relative paths count from; this one when left out.")
    ] = None,
) -> int:
    """Bring deployments.yaml to a Prefect server, where workers of a pool run it."""
    if not _connect(ensure_prefect):  # before prefect is imported, which reads where its server is
        return 1
    wanted = _load(deployments, only)
    for each, deployment in zip(wanted.deployments, prepare(wanted), strict=True):
        chosen = each.pool or pool
        _ensure_pool(chosen)
        # a worker starts runs in an empty folder; relative paths of configurations count from here instead
        deployment.job_variables = {"working_dir": str(working_dir or Path.cwd())}
        deployment.apply(work_pool_name=chosen)
        print(f"deployed {deployment.flow_name}/{deployment.name} to the pool {chosen}")
    return 0


def prepare(wanted: "Deployments") -> "list[RunnerDeployment]":
    """Make the limits and automations that the deployments count on, and the deployments themselves."""
    from prefect.client.orchestration import get_client

    from flows.cli.automations import ensure_automations
    from tasks.gpu_slot import LIMIT

    ensure_automations(ends_notices=True)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(LIMIT, wanted.gpu_slots)
    return [_deployment(wanted, each) for each in wanted.deployments]


def _deployment(wanted: "Deployments", each: "Deployment") -> "RunnerDeployment":
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.events import DeploymentEventTrigger, DeploymentTriggerTypes
    from prefect.events.schemas.automations import TriggerTypes
    from prefect.flows import EntrypointType
    from prefect.schedules import Cron

    from flows.cli import deployed
    from flows.cli.automations import TAG

    triggers: list[DeploymentTriggerTypes | TriggerTypes] = []
    parameters = {}
    if each.flow == "promote":
        facts = {"model": '{{ event.resource["prefect.resource.name"] }}', "version": "{{ event.payload.version }}"}
        settings = {"model": _jinja(facts["model"]), "version": _jinja(facts["version"]), "wait_s": each.wait_s}
        triggers = [
            DeploymentEventTrigger(
                name=f"gristmill: {each.name} when a challenger waits",
                expect={"gristmill.challenger.waits"},
                parameters={"settings": settings},
            )
        ]
    else:
        parameters = {"settings": each.settings.model_dump(mode="json")}
    return RunnerDeployment.from_flow(
        getattr(deployed, each.flow),
        name=each.name,
        schedules=[Cron(each.cron, timezone=wanted.timezone)] if each.cron else None,
        paused=False,
        # a run that comes while another goes on waits for it
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        parameters=parameters,
        triggers=triggers,
        tags=sorted({TAG, each.flow, *each.tags}),
        description=getattr(deployed, each.flow).__doc__,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _jinja(template: str) -> dict[str, str]:
    return {"__prefect_kind": "jinja", "template": template}


def _load(path: Path | None, only: tuple[str, ...]) -> "Deployments":
    """The file, cut down to what was asked for. Raises ConfigError."""
    from flows.cli.deployments import Deployments
    from gristmill.errors import ConfigError
    from gristmill.yaml import load_yaml

    wanted = load_yaml(path or workspace.deployments_path(), (), Deployments)
    names = [deployment.name for deployment in wanted.deployments]
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(f"--only {unknown[0]}: no such deployment; there are {', '.join(names)}")
    chosen = [deployment for deployment in wanted.deployments if not only or deployment.name in only]
    return wanted.model_copy(update={"deployments": chosen})


def _connect(ensure: Callable[[Path], Endpoints]) -> bool:
    """Start our servers where none are named, and let what follows reach them."""
    try:
        os.environ.update(ensure(workspace.home()).environment())
    except ServerUnavailable as error:
        print(f"gristmill: {error}", file=sys.stderr)
        return False
    return True


def _ensure_pool(name: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))
