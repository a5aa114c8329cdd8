"""Run one function over many shards, here or on a cluster: same bytes for 1 or N workers, in any order, after a kill.

A shard's result is committed by renaming a small JSON file into `.done/` of the output folder; a folder that is
continued after a crash skips what is committed. Results come back in the shards' order, whoever finished first.
"""

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from gristmill.progress import progress
from gristmill.ray_engine import RayEngine

S = TypeVar("S")
Workers = int | RayEngine
"""Who works on shards: so many processes of this machine, or a Ray cluster."""


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
    results = {name: json.loads((done / name).read_text()) for name, _ in shards if (done / name).exists()}
    missing = [(name, shard) for name, shard in shards if name not in results]
    reused = 0
    with progress(label, total=len(shards), unit=unit) as bar:
        bar.advance(len(results))
        for name, summary in _run(function, missing, workers, out):
            commit = done / f"{name}.tmp"
            commit.write_text(json.dumps(summary))
            commit.rename(done / name)
            results[name] = summary
            reused += bool(summary.get("reused"))
            bar.advance()
    if reused:
        print(f"{label}: {reused} of {len(shards)} {unit} are those of earlier artifacts", file=sys.stderr)
    lost = [name for name, _ in shards if name not in results]
    assert not lost, f"shards without a result: {lost}"
    return [results[name] for name, _ in shards]


def _run(
    function: Callable[[S], dict[str, Any]], shards: Sequence[tuple[str, S]], workers: Workers, out: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(workers, RayEngine):
        if shards:
            yield from workers.run(function, shards, out)
        return
    if workers == 1 or len(shards) <= 1:
        for name, shard in shards:
            yield name, function(shard)
        return
    # spawn, not fork: the parent may hold threads (Prefect's, Arrow's) whose locks a fork would copy in a locked state
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(shards)), mp_context=context) as pool:
        futures = {pool.submit(function, shard): name for name, shard in shards}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
