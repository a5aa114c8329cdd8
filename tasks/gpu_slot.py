"""One program at a time on a GPU of this machine, and at most so many over all machines.

Two guards, since each fails where the other holds: local locks, which the kernel drops when their holder dies, and
Prefect's limit `gpu`, which other machines see too and whose slots come back minutes after a hard kill. The locks are
the machine's, whatever store or home a run has, and whoever started it. Containers that share no /tmp do not see each
other.
"""

import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path

from gristmill.schema import Resources

LIMIT = "gpu"
NVIDIA = Path("/dev/nvidiactl")
LOCKS = Path("/tmp")  # nosec B108
"""Fixed: TMPDIR may be another one for each job. Only empty folders are made there, and no link is followed."""

_held: ContextVar[bool] = ContextVar("gpu_slot", default=False)


@contextmanager
def gpu_slot(resources: Resources) -> Iterator[None]:
    """Wait for the machine's GPUs that `resources` ask for, and hold them.

    Inside the block the slot is held: what `together` starts shares it.
    """
    if _held.get() or not uses_gpu(resources):
        yield
        return
    with ExitStack() as locks:
        for gpu in gpus(resources):  # in one order everywhere, so that two runs never wait for each other
            locks.enter_context(_lock(gpu))
        token = _held.set(True)
        try:
            with _limit_of_all_machines():
                yield
        finally:
            _held.reset(token)


def gpus(resources: Resources) -> list[int]:
    """Numbers of the machine's GPUs that a program with these resources may use: the one that `device` names, else all
    that CUDA_VISIBLE_DEVICES leaves; where that is no list of numbers, all of the machine."""
    machine = sorted(int(path.name.removeprefix("nvidia")) for path in NVIDIA.parent.glob("nvidia[0-9]*")) or [0]
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if shown and not re.fullmatch(r"\d+(,\d+)*", shown):
        return machine
    visible = [int(number) for number in shown.split(",")] if shown else machine
    if named := re.fullmatch(r"cuda:(\d+)", resources.device):
        number = int(named[1])
        return [visible[number] if number < len(visible) else number]
    return sorted(visible)


@contextmanager
def _lock(gpu: int) -> Iterator[None]:
    # a folder: whoever computes here can open it, and what cleans /tmp leaves one that is locked
    folder = LOCKS / f"gristmill-gpu-{gpu}"
    folder.mkdir(exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the GPU {gpu}, which another run uses", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def uses_gpu(resources: Resources) -> bool:
    """Whether programs started with these resources will compute on a GPU; torch is not asked, it takes seconds."""
    return resources.device.startswith("cuda") or (resources.device == "auto" and NVIDIA.exists())


def _limit_of_all_machines() -> AbstractContextManager[None]:
    if "prefect" not in sys.modules:
        return nullcontext()  # a stage's program started without a flow
    from prefect.concurrency.sync import concurrency
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return nullcontext()
    # a training goes on when the server is away and cannot be told that the slot is still in use
    return concurrency(LIMIT, occupy=1, raise_on_lease_renewal_failure=False)
