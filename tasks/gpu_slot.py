"""One program at a time on the GPU of a machine, and at most so many over all machines.

Two guards, since each fails where the other holds: a local lock, which the kernel drops when its holder dies, and
Prefect's limit `gpu`, which other machines see too and whose slots come back minutes after a hard kill.
"""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path

from gristmill.schema import Resources

LIMIT = "gpu"
NVIDIA = Path("/dev/nvidiactl")

_held: ContextVar[bool] = ContextVar("gpu_slot", default=False)


@contextmanager
def gpu_slot(root: Path, resources: Resources) -> Iterator[None]:
    """Wait for the machine's GPU and hold it, where `resources` ask for one. root: the store's folder on this machine.

    Inside the block the slot is held: what `together` starts shares it.
    """
    if _held.get() or not uses_gpu(resources):
        yield
        return
    lock = root / ".locks" / LIMIT
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for the GPU, which another run uses", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        token = _held.set(True)
        try:
            with _limit_of_all_machines():
                yield
        finally:
            _held.reset(token)


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
