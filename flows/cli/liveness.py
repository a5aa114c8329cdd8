"""Which flow runs of this machine still have a process, and closing those that have none.

A run holds a lock on a file named after it, and the kernel drops the lock when its process dies, however it dies. What
other machines run is not known here: Prefect's own heartbeats, with the automation in automations.py, close those.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

FOLDER = ".alive"


@contextmanager
def alive(root: Path, flow_run: str) -> Iterator[None]:
    """The flow run has a process while the block goes on."""
    path = root / FOLDER / str(UUID(flow_run))
    path.parent.mkdir(parents=True, exist_ok=True)
    unnamed = path.with_name(f".{path.name}")
    with unnamed.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        unnamed.rename(path)  # a sweep never sees it unlocked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_dead(root: Path, flow_run: str) -> bool:
    """Whether the run began on this machine and its process is gone."""
    try:
        with (root / FOLDER / flow_run).open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(handle.fileno()).st_nlink > 0  # else its run has just ended in order
    except (BlockingIOError, FileNotFoundError):
        return False


def sweep(root: Path) -> list[str]:
    """Close every run of this machine that Prefect takes for running and whose process is gone. Returns their names."""
    from prefect.client.orchestration import get_client

    marks = [path.name for path in (root / FOLDER).glob("[!.]*")]
    dead = [mark for mark in marks if is_dead(root, mark)]
    closed: list[str] = []
    if dead:
        with get_client(sync_client=True) as client:
            closed = [name for mark in dead if (name := _close(client, UUID(mark)))]
    for mark in dead:
        (root / FOLDER / mark).unlink(missing_ok=True)
    return closed


def _close(client: "SyncPrefectClient", flow_run: UUID) -> str | None:
    """The name of the run, when it was not closed already."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.states import Crashed

    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
    if not found or found[0].state is None or found[0].state.is_final():
        return None
    gone = Crashed(message="its process is gone; the same command, or the next schedule, goes on where it stopped")
    _close_tasks(client, flow_run)
    client.set_flow_run_state(flow_run, gone, force=True)
    return found[0].name


def _close_tasks(client: "SyncPrefectClient", flow_run: UUID) -> None:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.states import Crashed

    for run in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))):
        if run.state is not None and not run.state.is_final():
            client.set_task_run_state(run.id, Crashed(message="the flow run's process is gone"), force=True)
