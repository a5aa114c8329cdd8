"""Shards as ranks of a datatrove executor: how they reach Slurm without Ray. datatrove itself is not imported here.

    executor = lambda pipeline, tasks: SlurmPipelineExecutor(pipeline=pipeline, tasks=tasks, time="08:00:00", …)
    run_extract(warcs, out, config, workers=DatatroveEngine(executor))

A rank commits each shard to `out/.done`, as `map_shards` does; datatrove's own marks of completed ranks, which know
nothing of the configuration, decide nothing. Slurm's executor returns when its job is submitted: the call then fails
and says how many shards are missing, and the same call after the job goes on with what was committed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.shards import commit, committed


@dataclass(frozen=True)
class DatatroveEngine:
    """executor(pipeline, tasks): an executor of datatrove's that is not launched yet. Its nodes share the file system
    and have the same gristmill installed.

    tasks: ranks at most; a rank takes every tasks-th shard.
    """

    executor: Callable[[list[Any], int], Any]
    tasks: int = 1000

    def run(
        self, function: Callable[[Any], dict[str, Any]], shards: Sequence[tuple[str, Any]], out: Path
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Launch the executor and yield (name, function(shard)) for each shard. Raises RuntimeError when it returned
        before all were done."""
        executor = self.executor([ShardBlock(function, shards, out)], min(self.tasks, len(shards)))
        executor.skip_completed = False
        executor.run()
        missing = 0
        for name, _ in shards:
            summary = committed(out / ".done", name)
            if summary is None:
                missing += 1
            else:
                yield name, summary
        if missing:
            raise RuntimeError(
                f"{missing} of {len(shards)} shards are not done: datatrove's executor has submitted its job, or ranks "
                "of it failed (see its logging_dir). The same call goes on with what is done"
            )


@dataclass(frozen=True)
class ShardBlock:
    """A block for a datatrove pipeline: each rank calls the function for its shards and commits their summaries."""

    function: Callable[[Any], dict[str, Any]]
    shards: Sequence[tuple[str, Any]]
    out: Path

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        done = self.out / ".done"
        for name, shard in self.shards[rank::world_size]:
            if committed(done, name) is None:
                commit(done, name, self.function(shard))
