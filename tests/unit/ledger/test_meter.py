"""What the meter says, compared with work of a known size and with the CPU time that programs measure themselves."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gristmill.ledger import meter as module
from gristmill.ledger.meter import Ledger
from gristmill.shards import run_here
from gristmill.train.energy import EnergyMeter

MEGABYTE = 1_000_000
# 30 MB written and read again, 60 MB held, and CPU time that it measures itself
WORK = """
import sys, time
held = bytearray(60_000_000)
with open(sys.argv[1], "wb") as file:
    file.write(bytes(30_000_000))
with open(sys.argv[1], "rb") as file:
    file.read()
while time.process_time() < 0.7:
    pass
time.sleep(0.7)
print(time.process_time())
"""


def work(place: Path) -> float:
    """In a process of its own, whose parent is a shell that is not this process. Returns its CPU seconds."""
    shell = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", WORK, str(place)]
    return float(subprocess.run(shell, capture_output=True, text=True, check=True, start_new_session=True).stdout)


def no_energy(tmp_path: Path) -> EnergyMeter:
    return EnergyMeter(powercap=tmp_path / "none")


def test_a_grandchild_in_a_session_of_its_own_is_counted_though_it_ended(tmp_path: Path):
    ledger = Ledger(energy=no_energy(tmp_path), gpus=lambda: None)
    with ledger.metered() as meter:
        own = time.process_time()
        used = work(tmp_path / "file")
        own = time.process_time() - own
    costs = meter.costs
    assert used + own == pytest.approx(costs.cpu_seconds, abs=0.15)  # the shell's and the kernel's ticks of 10 ms
    assert 30 * MEGABYTE <= costs.bytes_written < 32 * MEGABYTE
    assert costs.bytes_read >= 30 * MEGABYTE
    assert costs.peak_memory_bytes >= 60 * MEGABYTE
    assert costs.seconds >= 1.4
    assert (costs.gpu_seconds, costs.joules) == (None, None)


def spin(seconds: float) -> dict[str, float]:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return {"seconds": seconds}


def test_workers_of_shards_are_counted(tmp_path: Path):
    ledger = Ledger(energy=no_energy(tmp_path), gpus=lambda: None)
    with ledger.metered() as meter:
        list(run_here(spin, [("a", 0.5), ("b", 0.5)], workers=2))
    assert meter.costs.cpu_seconds >= 1.0


def test_what_ran_before_is_nobody_s(tmp_path: Path):
    """A server that the run started stays out, with whatever it starts later."""
    command = ["sh", "-c", f"sleep 0.3; {sys.executable} -c 'x = 0\nwhile True: x += 1'; true"]
    server = subprocess.Popen(command, start_new_session=True)
    try:
        time.sleep(0.1)
        ledger = Ledger(energy=no_energy(tmp_path), gpus=lambda: None)
        with ledger.metered() as meter:
            time.sleep(1.5)
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(server.pid)], check=True)
        server.wait()
    assert meter.costs.cpu_seconds < 0.4


def test_stages_side_by_side_share_and_their_sum_is_what_was_used(tmp_path: Path):
    ledger = Ledger(energy=no_energy(tmp_path), gpus=lambda: None)
    shares: list[float] = []

    def stage(name: str) -> None:
        with ledger.metered() as meter:
            work(tmp_path / name)
        shares.append(meter.costs.bytes_written)

    threads = [threading.Thread(target=stage, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 60 * MEGABYTE <= sum(shares) < 62 * MEGABYTE
    assert min(shares) > 20 * MEGABYTE


def test_gpus_and_packages_count_where_they_can_be_read(tmp_path: Path):
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("1000000")
    busy: Callable[[], float] = lambda: 1.5  # noqa: E731
    ledger = Ledger(energy=EnergyMeter(powercap=tmp_path), gpus=busy)
    counter.write_text("4000000")  # before the stage: not its energy
    with ledger.metered() as meter:
        time.sleep(0.6)
        counter.write_text("9000000")
    costs = meter.costs
    assert costs.joules == 5.0
    assert costs.gpu_seconds == pytest.approx(1.5 * costs.seconds, rel=0.1)


class FakeNvml:
    """NVML as far as the meter asks it; `told` has its answers, one a call."""

    class NVMLError(Exception):
        pass

    def __init__(self, *told: int | None) -> None:
        self.told = list(told)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        percent = self.told.pop(0)
        if percent is None:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=percent)


def test_a_gpu_that_does_not_tell_its_utilization_fails_no_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nvml = FakeNvml(50, 100, 50, None, None)
    monkeypatch.setattr(module, "nvml_devices", lambda which: [(nvml, "first"), (nvml, "second")])
    ledger = Ledger(energy=no_energy(tmp_path))
    assert ledger._gpus() == 1.5
    assert ledger._gpus() is None
    with ledger.metered() as meter:
        pass
    assert meter.costs.gpu_seconds is None
    assert ledger._open == []


def test_what_fails_in_measuring_leaves_no_meter_open(tmp_path: Path):
    ledger = Ledger(energy=no_energy(tmp_path), gpus=[1.0].pop)
    with pytest.raises(IndexError), ledger.metered():
        pass
    assert ledger._open == []
