"""Rows of chaos.py about Prefect: its server away, a run cancelled in its UI, runs that nobody closes.

What Prefect shows is asked over its API, as its UI does.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import psutil
from chaos_ground import Chaos, Seen, in_training, run, told
from chaos_place import MICRO, Place, until
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

AWAY_S = 60.0
CLOSED_WITHIN_S = 600.0
DEPLOYMENTS = """
deployments:
  - name: chaos
    flow: pipeline
    settings: {{config: {config}, overrides: [resources.workers=2, register.model=undisturbed]}}
"""


def prefect_away(for_good: bool) -> Callable[[Chaos], Seen]:
    def inject(chaos: Chaos) -> Seen:
        with chaos.place(f"prefect-{for_good}") as place:
            place.forget("pretrain", "align")
            flow = place.start(*run())
            in_training(place, flow)
            (number,) = flow_runs(place)
            chaos.prefect.kill()
            if for_good:
                first = place.end(flow, limit_s=300)
                chaos.prefect.start()
                shown = ""
            else:
                time.sleep(AWAY_S)
                chaos.prefect.start()
                first = place.end(flow)
                with prefect(chaos) as client:
                    shown = states(client, number)
            seconds, faults = chaos.recovered(place)
        if for_good:
            faults += ["it waited for ever"] if first.code == -9 else []
            return f"{told(first)} after {first.seconds:.0f} s; again: 0", seconds, faults
        faults += ["the run did not survive it"] if first.code else []
        faults += [] if shown == "Completed; tasks: 20 Cached, 2 Completed" else [f"Prefect shows {shown}"]
        return f"{told(first)} after {first.seconds:.0f} s; Prefect: {shown}; again: 0", seconds, faults

    return inject


def cancelled(chaos: Chaos) -> Seen:
    """Cancelled as the UI's button does it."""
    with chaos.place("cancelled") as place:
        draft = place.draft(place.keys()["pretrain"])
        place.forget("pretrain", "align")
        with prefect(chaos) as client, scheduled(place) as scheduler:
            number = start(client)
            in_training(place, scheduler)
            cancelling = State(type=StateType.CANCELLING, name="Cancelling")
            faults = _tell(place, lambda: client.set_flow_run_state(number, cancelling))
            told_at = time.monotonic()
            until(lambda: is_final(client, number), every_s=0.5)
            took, shown = time.monotonic() - told_at, states(client, number)
            until(lambda: not own(place, scheduler), limit_s=30, every_s=0.5)
            faults += [f"left over: {process.cmdline()}" for process in own(place, scheduler)]
            kept = [path.name for path in draft.glob("checkpoints/step-*")]
        seconds, more = chaos.recovered(place)
    faults += [] if shown.startswith("Cancelled") else [f"Prefect shows {shown}"]
    faults += [] if kept else ["no checkpoint"]
    return f"Prefect: {shown} {took:.0f} s later, {', '.join(kept)}, no process left; again: 0", seconds, faults + more


def told_to_end(chaos: Chaos) -> Seen:
    """SIGTERM to a run that was started by hand, as Slurm sends it before a job's time is over."""
    with chaos.place("told") as place:
        draft = place.draft(place.keys()["pretrain"])
        place.forget("pretrain", "align")
        flow = place.start(*run())
        in_training(place, flow)
        (number,) = flow_runs(place)
        faults = _tell(place, flow.terminate)
        first = place.end(flow, limit_s=120)
        faults += [f"left over: {process.cmdline()}" for process in place.processes()]
        kept = [path.name for path in draft.glob("checkpoints/step-*")]
        with prefect(chaos) as client:
            shown = states(client, number)
        seconds, more = chaos.recovered(place)
    faults += [] if first.code == 143 else [f"it ended with {first.code}"]
    faults += [] if shown.startswith("Crashed") else [f"Prefect shows {shown}"]
    faults += [] if kept else ["no checkpoint"]
    return f"exit {first.code}, {', '.join(kept)}, Prefect: {shown}; again: 0", seconds, faults + more


def _tell(place: Place, tell: Callable[[], object]) -> list[str]:
    """The training is held until it has been told to end, since it takes seconds. Returns what was wrong."""
    (program,) = trainings(place)
    program.suspend()
    tell()
    was_told = until(lambda: has_pending(program, signal.SIGTERM))
    program.resume()
    return [] if was_told else ["the training was not told to end"]


def left_running(chaos: Chaos) -> Seen:
    """SIGKILL of everything a scheduler has started, itself included, and of a run that was started by hand.

    Their homes are not the server's own, as if on other machines: nothing but silence says that they are dead.
    """
    with chaos.place("dead-worker") as theirs, chaos.place("dead-by-hand") as mine, prefect(chaos) as client:
        theirs.forget("pretrain", "align")
        mine.forget("pretrain", "align")
        with scheduled(theirs) as scheduler:
            scheduled_run = start(client)
            in_training(theirs, scheduler)
            by_hand = mine.start(*run())
            in_training(mine, by_hand)
            (started,) = flow_runs(mine)
            for process in (*theirs.processes(), *mine.processes()):
                process.kill()
        since = time.monotonic()
        numbers = {"by a worker": scheduled_run, "by hand": started}
        before = {how: states(client, number) for how, number in numbers.items()}
        until(lambda: all(is_final(client, number) for number in numbers.values()), limit_s=CLOSED_WITHIN_S, every_s=2)
        took = time.monotonic() - since
        shown = {how: states(client, number) for how, number in numbers.items()}
        seconds, faults = chaos.recovered(mine)
        seconds_too, more = chaos.recovered(theirs)
    faults += [f"{how}: Prefect showed {state} at first" for how, state in before.items() if state[:7] != "Running"]
    faults += [f"{how}: Prefect shows {state}" for how, state in shown.items() if not state.startswith("Crashed")]
    seen = "; ".join(f"{how}: {state.partition(';')[0]}" for how, state in shown.items())
    return f"{seen}, {took:.0f} s after SIGKILL; again: 0, twice", max(seconds, seconds_too), faults + more


@contextmanager
def prefect(chaos: Chaos) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: f"{chaos.prefect.url}/api"}),
        get_client(sync_client=True) as client,
    ):
        yield client


@contextmanager
def scheduled(place: Place) -> Iterator[subprocess.Popen[str]]:
    """`gristmill schedule` with one deployment goes on inside the block."""
    deployments = place.home / "deployments.yaml"
    deployments.write_text(DEPLOYMENTS.format(config=MICRO))
    scheduler = place.start("schedule", "--deployments", str(deployments))
    try:
        assert until(lambda: "chaos: by hand" in place.said(scheduler) or scheduler.poll() is not None)
        assert scheduler.poll() is None, place.said(scheduler)
        yield scheduler
    finally:
        if scheduler.poll() is None:
            os.kill(scheduler.pid, signal.SIGINT)
        place.end(scheduler, limit_s=60)


def start(client: SyncPrefectClient) -> UUID:
    """A run of that deployment, as the UI's button starts it."""
    deployment = until(lambda: _deployment(client), every_s=0.5)
    return client.create_flow_run_from_deployment(deployment.id).id


def _deployment(client: SyncPrefectClient) -> DeploymentResponse | None:
    with suppress(ObjectNotFound):  # the scheduler has not got so far
        return client.read_deployment_by_name("pipeline/chaos")
    return None


def flow_runs(place: Place) -> list[UUID]:
    """Flow runs that have a process in this home, or had one that died."""
    return [UUID(path.name) for path in (place.home / ".alive").glob("[!.]*")]


def states(client: SyncPrefectClient, number: UUID) -> str:
    """The state of a flow run and those of its task runs."""
    run_of = client.read_flow_run(number)
    asked = FlowRunFilter(id=FlowRunFilterId(any_=[number]))
    tasks = [str(task.state.name if task.state else None) for task in client.read_task_runs(flow_run_filter=asked)]
    counted = ", ".join(f"{tasks.count(name)} {name}" for name in sorted(set(tasks)))
    return f"{run_of.state.name if run_of.state else None}; tasks: {counted}"


def is_final(client: SyncPrefectClient, number: UUID) -> bool:
    state = client.read_flow_run(number).state
    return state is not None and state.is_final()


def trainings(place: Place) -> list[psutil.Process]:
    return [process for process in place.processes() if "gristmill.train.pretrain" in process.cmdline()]


def own(place: Place, scheduler: subprocess.Popen[str]) -> list[psutil.Process]:
    """What runs in this home beside the scheduler."""
    return [process for process in place.processes() if process.pid != scheduler.pid]


def has_pending(process: psutil.Process, number: signal.Signals) -> bool:
    """Whether a signal waits for a process that is stopped (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return any(int(lines[name], 16) >> (number - 1) & 1 for name in ("SigPnd", "ShdPnd"))
