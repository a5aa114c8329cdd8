"""The progress of a long stage reaches Prefect now and then, and never holds the stage up."""

import threading
import time
from typing import Any

import pytest

from gristmill.progress import progress
from tasks import progress_artifact as module
from tasks.progress_artifact import progress_artifact


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, str]]:
    """What Prefect was told: (which call, percent, description)."""
    calls: list[tuple[str, float, str]] = []

    def create(percent: float, *, key: str, description: str) -> str:
        calls.append((key, percent, description))
        return "id"

    def update(shown: str, percent: float, *, description: str) -> None:
        assert shown == "id"
        calls.append(("update", percent, description))

    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", create)
    monkeypatch.setattr("prefect.artifacts.update_progress_artifact", update)
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    return calls


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_artifact_is_made_once_moved_and_ends_at_the_whole(told: list):
    with progress_artifact("evaluate[sft]"), progress("evaluate", total=8, unit="rows") as bar:
        bar.advance(2, note="neutral")
        wait_for(lambda: len(told) == 1)
        bar.advance(2)
        wait_for(lambda: len(told) == 2)
    assert told == [
        ("progress-evaluate-sft", 25.0, "evaluate[sft]: evaluate, 2 of 8 rows, neutral"),
        ("update", 50.0, "evaluate[sft]: evaluate, 4 of 8 rows"),
        ("update", 100.0, "evaluate[sft]: evaluate, 8 of 8 rows"),
    ]


def test_a_stage_that_fails_stays_where_it_was(told: list):
    def fail() -> None:
        with progress_artifact("sft"), progress("sft", total=4, unit="steps") as bar:
            bar.advance(1)
            wait_for(lambda: told)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert {percent for _, percent, _ in told} == {25.0}


def test_short_work_and_work_of_unknown_length_show_nothing(told: list, monkeypatch: pytest.MonkeyPatch):
    with progress_artifact("ingest"), progress("ingest", total=None, unit="files") as bar:
        bar.advance(1)
        time.sleep(0.2)
    monkeypatch.setattr(module, "EVERY_S", 10.0)
    with progress_artifact("mix"), progress("mix", total=2, unit="files") as bar:
        bar.advance(2)
    assert told == []


def test_a_server_that_hangs_or_fails_holds_nothing_up(monkeypatch: pytest.MonkeyPatch):
    hanging = threading.Event()
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    monkeypatch.setattr(module, "FAREWELL_S", 0.2)
    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", lambda *a, **k: hanging.wait(30))
    started = time.monotonic()
    with progress_artifact("sft"), progress("sft", total=4, unit="steps") as bar:
        bar.advance(1)
        time.sleep(0.2)
        bar.advance(1)
    assert time.monotonic() - started < 5
    hanging.set()
