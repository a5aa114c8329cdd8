"""Run one function over many shards, here or on a cluster: same bytes for 1 or N workers, in any order, after a kill.

A shard's result is committed by renaming a small JSON file into `.done/` of the output folder; a folder that is
continued after a crash skips what is committed. Results come back in the shards' order, whoever finished first.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gristmill.progress import progress
from gristmill.train.interrupts import follow_parent

S = TypeVar("S")


class Engine(Protocol):
    """Machines that shards are worked on, all of which see the folder `out`: a Ray cluster, an executor of datatrove's.

    A shard that is lost with its machine runs again there or fails the call; it is never left out.
    """

    def run(
        self, function: Callable[[Any], dict[str, Any]], shards: Sequence[tuple[str, Any]], out: Path
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, function(shard)) for each shard, whichever is finished first."""
        ...


Workers = int | Engine
"""Who works on shards: so many processes of this machine, or an engine."""


def map_shards(
    function: Callable[[S], dict[str, Any]],
    shards: Sequence[tuple[str, S]],
    out: Path,
    *,
    workers: Workers,
    label: str,
    unit: str = "shards",
) -> list[dict[str, Any]]:
    """Call `function(shard)` for each (name, shard); it writes its own files and returns a JSON-able summary.

    `function` must be picklable, and idempotent: after a crash it is called again for shards not committed.
    Raises what a shard raised; RuntimeError when a cluster loses the workers of one shard again and again.
    """
    done = out / ".done"
    done.mkdir(parents=True, exist_ok=True)
    results = {name: summary for name, _ in shards if (summary := committed(done, name)) is not None}
    missing = [(name, shard) for name, shard in shards if name not in results]
    reused = 0
    with progress(label, total=len(shards), unit=unit) as bar:
        bar.advance(len(results))
        for name, summary in _run(function, missing, workers, out):
            commit(done, name, summary)
            results[name] = summary
            reused += bool(summary.get("reused"))
            bar.advance()
    if reused:
        print(f"{label}: {reused} of {len(shards)} {unit} are those of earlier artifacts", file=sys.stderr)
    lost = [name for name, _ in shards if name not in results]
    assert not lost, f"shards without a result: {lost}"
    return [results[name] for name, _ in shards]


def commit(done: Path, name: str, summary: dict[str, Any]) -> None:
    """Say that a shard is done, at once or not at all."""
    temporary = done / f"{name}.tmp"
    temporary.write_text(json.dumps(summary))
    temporary.rename(done / name)


def committed(done: Path, name: str) -> dict[str, Any] | None:
    """The summary of a shard that is done."""
    try:
        return json.loads((done / name).read_text())
    except (FileNotFoundError, ValueError):  # a power cut may leave a name without its content
        return None


def _run(
    function: Callable[[S], dict[str, Any]], shards: Sequence[tuple[str, S]], workers: Workers, out: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(workers, int):
        if shards:
            yield from workers.run(function, shards, out)
        return
    yield from run_here(function, shards, workers)


def run_here(
    function: Callable[[S], dict[str, Any]], shards: Sequence[tuple[str, S]], workers: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, function(shard)) for each shard, worked on by processes of this machine."""
    if workers == 1 or len(shards) <= 1:
        for name, shard in shards:
            yield name, function(shard)
        return
    # spawn, not fork: the parent may hold threads (Prefect's, Arrow's) whose locks a fork would copy in a locked state
    context = multiprocessing.get_context("spawn")
    alive = {"initializer": _end_with, "initargs": (os.getpid(),)}
    with ProcessPoolExecutor(min(workers, len(shards)), mp_context=context, **alive) as pool:
        futures = {pool.submit(function, shard): name for name, shard in shards}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with(parent: int) -> None:
    """What a worker does first. One whose parent was killed would wait for its next shard for ever: the others hold
    the pipe open."""
    follow_parent()
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)
