import os
import signal
import time

import pytest

from gristmill.text.sandbox import Failed, KillableWorker, TooCostly


def spin(seconds: float) -> str:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "done"


def double(value: int) -> int:
    return 2 * value


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def swallow_memory() -> int:
    return len(bytearray(64 << 30))


HOARD: list[bytearray] = []


def hoard(size: int) -> int:
    HOARD.append(bytearray(size))
    return len(HOARD)


def refuse(text: str) -> None:
    raise LookupError(text)


def pid() -> int:
    return os.getpid()


@pytest.fixture(scope="module")
def worker():
    with KillableWorker((double, (1,))) as running:
        yield running


def test_work_within_the_limit_is_answered_by_one_process(worker):
    assert [worker.run(double, number, cpu_s=1) for number in range(3)] == [0, 2, 4]
    assert worker.run(pid, cpu_s=1) == worker.run(pid, cpu_s=1) != os.getpid()


def test_work_over_its_cpu_seconds_is_ended_and_the_next_is_answered(worker):
    before = worker.run(pid, cpu_s=1)
    with pytest.raises(TooCostly, match=r"cpu: more than 0\.2 CPU-seconds") as found:
        worker.run(spin, 30.0, cpu_s=0.2)
    assert found.value.kind == "cpu"
    assert worker.run(double, 4, cpu_s=1) == 8
    assert worker.run(pid, cpu_s=1) != before


def test_waiting_costs_no_cpu(worker):
    assert worker.run(time.sleep, 0.5, cpu_s=0.2) is None


def test_a_crash_and_too_much_memory_are_answers(worker):
    with pytest.raises(TooCostly, match="SIGSEGV") as found:
        worker.run(crash, cpu_s=1)
    assert found.value.kind == "crash"
    with pytest.raises(TooCostly) as found:
        worker.run(swallow_memory, cpu_s=1)
    assert (found.value.kind, found.value.found) == ("memory", "more than 1 GiB")


def test_what_earlier_calls_left_in_memory_decides_about_none(worker):
    assert worker.run(hoard, 600 << 20, cpu_s=1) == 1
    assert worker.run(hoard, 600 << 20, cpu_s=1) == 1  # in a fresh process
    with pytest.raises(TooCostly):
        worker.run(hoard, 1 << 30, cpu_s=1)


def test_a_call_that_was_interrupted_leaves_no_answer_to_the_next(worker):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.run(time.sleep, 1.0, cpu_s=1)
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert worker.run(double, 21, cpu_s=1) == 42


def test_an_exception_is_told_with_its_type(worker):
    with pytest.raises(Failed, match="LookupError: no such page"):
        worker.run(refuse, "no such page", cpu_s=1)


def test_nothing_is_left_when_it_is_closed():
    with KillableWorker() as running:
        child = running.run(pid, cpu_s=1)
        os.kill(child, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
