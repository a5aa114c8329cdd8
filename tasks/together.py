"""Stages that do not need each other, at the same time: the rungs of a ladder, the seeds of a comparison.

Each call runs in a thread of its own; what takes long is a program of its own (tasks/launch.py), so threads only wait.
The machine is shared out: `resources.trainings` calls at once, each with its part of `threads`. Prefect sees the tasks
side by side. When one fails, or the run is interrupted, the others are stopped with time for a checkpoint, and the same
command goes on from there.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import replace
from typing import TypeVar

from gristmill.progress import one_of_several
from tasks.gpu_slot import gpu_slot
from tasks.launch import crew
from tasks.stage import current_session, session

T = TypeVar("T")


def together(calls: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """The results of calls that call stages, by name, in the order of `calls`. A plan makes them one after another.

    Raises what the first failed call raised.
    """
    here = current_session()
    if here.planning:
        return {name: call() for name, call in calls.items()}
    # before the address of any stage, here and where they run at the same time: two runs that took the GPU and an
    # address in different orders would wait for each other
    with gpu_slot(here.resources):
        at_once = min(here.resources.trainings, len(calls))
        return _at_once(calls, at_once) if at_once > 1 else {name: call() for name, call in calls.items()}


def _at_once(calls: Mapping[str, Callable[[], T]], at_once: int) -> dict[str, T]:
    here = current_session()
    share = here.resources.model_copy(update={"threads": max(1, here.resources.threads // at_once)})
    with (
        session(replace(here, resources=share)),
        crew() as programs,
        ThreadPoolExecutor(at_once, thread_name_prefix="together") as pool,
    ):
        futures = {name: pool.submit(copy_context().run, _named, name, call) for name, call in calls.items()}
        try:
            done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            programs.stop()
            raise


def _named(name: str, call: Callable[[], T]) -> T:
    with one_of_several(name):
        return call()
