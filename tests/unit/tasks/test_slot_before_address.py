"""A stage that starts a program takes the machine's GPU first and its artifact's address second, as `together` does.

In the other order a run that has the address and waits for the GPU, and one that has the GPU and waits for that
address, would wait for each other for ever.
"""

import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from gristmill.artifacts import Checkpoint
from gristmill.report import Report
from gristmill.schema import Resources, StageConfig
from gristmill.store import ArtifactStore
from tasks.gpu_slot import gpu_slot
from tasks.stage import Session, Stage, session, stage
from tasks.together import together

TASKS = Path(__file__).parents[3] / "tasks"


@stage(produces=Checkpoint, version=1, launches=True)
def learn(out: Path, config: StageConfig, resources: Resources = Resources()) -> Report:
    return Report(rows_in=0, rows_out=1)


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("prefect.task", lambda **options: lambda function: function)
    monkeypatch.setattr("tasks.gpu_slot.LOCKS", tmp_path)


def opened(root: Path) -> Session:
    return Session(store=ArtifactStore(root), planning=False, run="run", resources=Resources(device="cuda"))


def in_thread(root: Path, call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    done: list[object] = []

    def run() -> None:
        with session(opened(root)):
            done.append(call())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, done


def test_two_runs_of_one_training_do_not_wait_for_each_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """One run goes through `together`, which takes the GPU for all its calls; the other calls the stage plainly."""
    has_gpu, other_waits = threading.Event(), threading.Event()

    def with_gpu_from_the_start() -> Checkpoint:
        has_gpu.set()
        assert other_waits.wait(20)
        return learn(config=StageConfig())

    ablation, first = in_thread(tmp_path, lambda: together({"a": with_gpu_from_the_start}))
    assert has_gpu.wait(20)
    plain, second = in_thread(tmp_path, lambda: learn(config=StageConfig()))
    said = ""
    while "waiting for the GPU" not in said:
        plain.join(0.02)
        said += capfd.readouterr().err
    other_waits.set()
    for thread in (ablation, plain):
        thread.join(20)
        assert not thread.is_alive(), "they wait for each other"
    assert first == [{"a": second[0]}]


def test_what_is_cached_does_not_wait_for_the_gpu(tmp_path: Path):
    with session(opened(tmp_path)):
        made = learn(config=StageConfig())
    with gpu_slot(Resources(device="cuda")):
        thread, found = in_thread(tmp_path, lambda: learn(config=StageConfig()))
        thread.join(20)
        assert found == [made]


def test_every_stage_that_can_start_a_program_says_so():
    starting = [path for path in TASKS.glob("*.py") if "import launch\n" in path.read_text()]
    stages = [getattr(import_module(f"tasks.{path.stem}"), path.stem) for path in starting]
    assert len(stages) >= 9
    assert [each.name for each in stages if not (isinstance(each, Stage) and each.launches)] == []


def test_two_stores_of_one_machine_share_its_gpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with gpu_slot(Resources(device="cuda")):
        thread, found = in_thread(tmp_path / "another home", lambda: learn(config=StageConfig()))
        said = ""
        while thread.is_alive() and "waiting for the GPU" not in said:
            thread.join(0.02)
            said += capfd.readouterr().err
        assert found == []
    thread.join(20)
    assert len(found) == 1
