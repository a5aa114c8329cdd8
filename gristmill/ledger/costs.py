"""What the building of an artifact used. Part of its record, and of no key."""

from collections.abc import Iterable

from gristmill.schema import Schema


class Costs(Schema):
    """Sums over the processes of one build: the run's own, training programs, workers of shards and what they started.

    Not counted: nodes of a cluster other than this machine, and attempts that failed before the one that published.
    """

    seconds: float
    """Wall time."""
    cpu_seconds: float
    """User and system time."""
    gpu_seconds: float | None = None
    """Seconds in which a GPU computed, summed over this machine's GPUs, whoever used them; null: not readable."""
    peak_memory_bytes: int
    """Largest sum of resident memory at one moment, looked at twice a second; shared pages count in each process."""
    bytes_read: int
    """Asked of the system by read calls, the page cache's included; files mapped into memory are not seen."""
    bytes_written: int
    joules: float | None = None
    """Energy of all processors and GPUs of this machine, whoever used them; null: not readable."""


def total(costs: Iterable[Costs]) -> Costs:
    """Sums, of memory the largest. What was not readable for one is not readable for all."""
    every = list(costs)
    joules = [one.joules for one in every if one.joules is not None]
    gpu_seconds = [one.gpu_seconds for one in every if one.gpu_seconds is not None]
    return Costs(
        seconds=sum(one.seconds for one in every),
        cpu_seconds=sum(one.cpu_seconds for one in every),
        gpu_seconds=sum(gpu_seconds) if every and len(gpu_seconds) == len(every) else None,
        peak_memory_bytes=max((one.peak_memory_bytes for one in every), default=0),
        bytes_read=sum(one.bytes_read for one in every),
        bytes_written=sum(one.bytes_written for one in every),
        joules=sum(joules) if every and len(joules) == len(every) else None,
    )
