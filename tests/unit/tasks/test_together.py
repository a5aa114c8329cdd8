"""Calls at the same time: how the machine is shared, in which order results come, and what an interruption stops."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gristmill.progress import progress
from gristmill.schema import Resources
from gristmill.store import ArtifactStore
from tasks.gpu_slot import gpu_slot
from tasks.launch import Crew, crew
from tasks.stage import Session, current_session, session
from tasks.together import together


def opened(root: Path, *, planning: bool = False, trainings: int = 2, threads: int = 5) -> Session:
    resources = Resources(trainings=trainings, threads=threads)
    return Session(store=ArtifactStore(root), planning=planning, resources=resources)


def test_calls_run_at_the_same_time_each_with_its_share_of_the_threads(tmp_path: Path):
    meeting = threading.Barrier(2, timeout=20)  # passes only when two are inside together

    def call() -> int:
        meeting.wait()
        return current_session().resources.threads

    with session(opened(tmp_path)):
        assert together({"a": call, "b": call}) == {"a": 2, "b": 2}
        assert current_session().resources.threads == 5


def test_results_keep_the_order_of_the_calls_and_steps_are_shared(tmp_path: Path):
    def call(seconds: float) -> str:
        time.sleep(seconds)
        current_session().steps.append(f"{seconds}")  # type: ignore[arg-type]
        return f"{seconds}"

    here = opened(tmp_path)
    with session(here):
        results = together({"slow": lambda: call(0.2), "fast": lambda: call(0.0)})
    assert list(results.items()) == [("slow", "0.2"), ("fast", "0.0")]
    assert sorted(here.steps) == ["0.0", "0.2"]  # type: ignore[type-var]


@pytest.mark.parametrize("settings", [{"planning": True}, {"trainings": 1}])
def test_a_plan_and_a_machine_for_one_make_them_one_after_another_with_all_threads(tmp_path: Path, settings: dict):
    main = threading.get_ident()
    with session(opened(tmp_path, **settings)):
        found = together(dict.fromkeys("ab", lambda: (threading.get_ident(), current_session().resources.threads)))
    assert found == {"a": (main, 5), "b": (main, 5)}


@pytest.mark.parametrize("trainings", [1, 2])
def test_the_gpu_is_held_before_any_call_begins_and_shared_by_all(
    tmp_path: Path, trainings: int, monkeypatch: pytest.MonkeyPatch
):
    """However many at once: a stage of these calls takes its address inside, in one order in all runs of them."""
    monkeypatch.setattr("tasks.gpu_slot.LOCKS", tmp_path)
    monkeypatch.setattr("tasks.gpu_slot.gpus", lambda resources: [0])

    def lock() -> None:
        other = os.open(tmp_path / "gristmill-gpu-0", os.O_RDONLY)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)

    def call() -> bool:
        with pytest.raises(BlockingIOError):
            lock()
        with gpu_slot(current_session().resources):  # as a stage does
            return True

    here = opened(tmp_path, trainings=trainings)
    here.resources = here.resources.model_copy(update={"device": "cuda"})
    with session(here):
        assert together({"a": call, "b": call}) == {"a": True, "b": True}
    lock()


def test_a_failure_stops_the_programs_of_the_others_and_starts_no_more(tmp_path: Path):
    started = threading.Event()
    ended: list[int] = []

    def sleeper() -> None:
        from tasks.launch import _crew

        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True, text=True
        )
        with _crew.get().member(process):
            started.set()
            ended.append(process.wait())

    def fails() -> None:
        assert started.wait(20)
        raise RuntimeError("the rung broke")

    never: list[str] = []
    with session(opened(tmp_path)), pytest.raises(RuntimeError, match="the rung broke"):
        together({"sleeps": sleeper, "fails": fails, "never": lambda: never.append("ran")})
    assert ended == [-signal.SIGTERM]
    assert never in ([], ["ran"])  # it may have taken the failed call's thread before the failure was seen


def test_a_program_that_starts_after_the_stop_is_ended_at_once():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True, text=True)
    with crew() as programs:
        programs.stop()
        with programs.member(process):
            assert process.wait(20) == -signal.SIGTERM


def test_a_program_outside_of_any_crew_needs_none():
    process = subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True, text=True)
    with Crew().member(process):
        assert process.wait(20) == 0


def test_the_progress_of_each_says_whose_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def call() -> None:
        with progress("pretrain", total=None, unit="tokens"):
            pass

    with session(opened(tmp_path)):
        together({"d1-x5": call, "d2-x5": call})
    assert sorted(capsys.readouterr().err.splitlines()) == ["pretrain[d1-x5]: started", "pretrain[d2-x5]: started"]
