"""Measures what stages use, over the process that runs them and all that it starts.

The kernel adds a process's CPU time and bytes to its parent's account when the parent has waited for it, so the sum
over the living processes of the tree, each with its waited-for children, forgets none of those that ended. It may only
fall for a moment, between a process's end and the wait; the largest sum so far is kept. Lost is what a process used
whose parent died before it. Memory is sampled.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import psutil

from gristmill.ledger.costs import Costs
from gristmill.train.energy import EnergyMeter, nvml_devices

SAMPLE_S = 0.5

Gpus = Callable[[], float | None]
"""How many GPUs' worth is computing now: 1.5 for one that is busy and one that is half; None: not readable."""


class Meter:
    """What one stage has used so far."""

    def __init__(self) -> None:
        self.started = monotonic()
        self.used = _Used()
        self.peak_memory = 0.0
        self.seconds = 0.0

    @property
    def costs(self) -> Costs:
        used = self.used
        return Costs(
            seconds=round(self.seconds, 3),
            cpu_seconds=round(used.cpu_seconds, 3),
            gpu_seconds=None if used.gpu_seconds is None else round(used.gpu_seconds, 3),
            peak_memory_bytes=round(self.peak_memory),
            bytes_read=round(used.bytes_read),
            bytes_written=round(used.bytes_written),
            joules=None if used.joules is None else round(used.joules, 3),
        )


class Ledger:
    """Measures the stages of one run. What stages side by side use is shared equally among them.

    Child processes that are there when it is made, such as servers, are not the stages'.
    """

    def __init__(self, *, energy: EnergyMeter | None = None, gpus: Gpus | None = None) -> None:
        self._me = psutil.Process()
        self._others = set(self._me.children())
        self._energy = energy or EnergyMeter(cuda_device="all")
        self._gpus = gpus or _busy_gpus()
        self._open: list[Meter] = []
        self._lock = threading.Lock()
        self._at = monotonic()
        self._gpu_seconds: float | None = None
        self._before = _Used()

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Measure the block; the meter's `costs` are whole when it has ended."""
        meter, stop = Meter(), threading.Event()
        with self._lock:
            if self._open:
                self._settle()
            else:
                self._gpu_seconds = None if self._gpus() is None else 0.0
                self._at = monotonic()
                self._before, _ = self._now()
            self._open.append(meter)
        sampler = threading.Thread(target=self._sample, args=(stop,), daemon=True, name="ledger")
        sampler.start()
        try:
            yield meter
        finally:
            stop.set()
            sampler.join()
            with self._lock:
                try:
                    self._settle()
                finally:
                    self._open.remove(meter)
            meter.seconds = monotonic() - meter.started

    def _sample(self, stop: threading.Event) -> None:
        while not stop.wait(SAMPLE_S):
            with self._lock:
                self._settle()

    def _settle(self) -> None:
        """Charge what was used since the last time to the stages that run."""
        elapsed = monotonic() - self._at
        self._at += elapsed
        if self._gpu_seconds is not None:
            self._gpu_seconds += (self._gpus() or 0.0) * elapsed
        now, memory = self._now()
        now = now.at_least(self._before)
        for meter in self._open:
            meter.used = meter.used.plus(now.minus(self._before).over(len(self._open)))
            meter.peak_memory = max(meter.peak_memory, memory)
        self._before = now

    def _now(self) -> tuple["_Used", int]:
        """Of the whole tree since its processes began, and its memory."""
        used, memory = _Used(gpu_seconds=self._gpu_seconds, joules=self._energy.joules()), 0
        for process in (self._me, *self._descendants()):
            with suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                used.cpu_seconds += times.user + times.system + times.children_user + times.children_system
                with suppress(AttributeError):  # no such counters on macOS
                    counters: Any = process.io_counters()
                    used.bytes_read += counters.read_chars
                    used.bytes_written += counters.write_chars
        return used, memory

    def _descendants(self) -> Iterator[psutil.Process]:
        outside = {process.pid for process in self._others if process.is_running()}
        for process in self._me.children(recursive=True):  # parents before their children
            with suppress(psutil.Error):
                if process.pid in outside or process.ppid() in outside:
                    outside.add(process.pid)
                else:
                    yield process


class _Used:
    """Amounts that only grow."""

    def __init__(
        self,
        cpu_seconds: float = 0.0,
        bytes_read: float = 0.0,
        bytes_written: float = 0.0,
        gpu_seconds: float | None = None,
        joules: float | None = None,
    ) -> None:
        self.cpu_seconds, self.bytes_read, self.bytes_written = cpu_seconds, bytes_read, bytes_written
        self.gpu_seconds, self.joules = gpu_seconds, joules

    def plus(self, more: "_Used") -> "_Used":
        return self._with(more, lambda mine, other: mine + other)

    def minus(self, less: "_Used") -> "_Used":
        return self._with(less, lambda mine, other: mine - other)

    def at_least(self, floor: "_Used") -> "_Used":
        return self._with(floor, max)

    def over(self, parts: int) -> "_Used":
        return self._with(self, lambda mine, _: mine / parts)

    def _with(self, other: "_Used", combine: Callable[[float, float], float]) -> "_Used":
        combined: dict[str, Any] = {}
        for name, mine in vars(self).items():
            theirs = getattr(other, name)
            # what the other has no number of began with this one
            combined[name] = None if mine is None and theirs is None else combine(mine or 0.0, theirs or 0.0)
        return _Used(**combined)


def _busy_gpus() -> Gpus:
    """By NVML's utilization, which a GPU in parts (MIG) does not tell."""
    devices = nvml_devices("all")
    if not devices:
        return lambda: None
    nvml = devices[0][0]

    def busy() -> float | None:
        with suppress(nvml.NVMLError):
            return sum(nvml.nvmlDeviceGetUtilizationRates(handle).gpu for _, handle in devices) / 100
        return None

    return busy
