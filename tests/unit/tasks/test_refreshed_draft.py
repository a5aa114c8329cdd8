"""`--refresh` of a stage that goes on from its draft: from one begun for a refresh by this code, and from no other."""

from pathlib import Path

import pytest

from gristmill.artifacts import Checkpoint
from gristmill.report import Report
from gristmill.schema import StageConfig
from gristmill.store import ArtifactStore
from tasks import stage as stage_module
from tasks.stage import Session, Stage, StageFailed, session


class Training:
    """Writes one step after the other into its draft; is killed before step `dies_at`."""

    def __init__(self, root: Path) -> None:
        self.root, self.code, self.dies_at = root, "old", 9

    def learn(self, out: Path, config: StageConfig) -> Report:
        steps = out / "steps.txt"
        done = steps.read_text().split() if steps.exists() else []
        for number in range(len(done), 4):
            if number == self.dies_at:
                raise OSError("killed")
            done.append(f"{number}:{self.code}")
            steps.write_text(" ".join(done))
        return Report(rows_in=0, rows_out=1)

    def run(self, *, refresh: bool = False, dies_at: int = 9) -> str:
        """The steps of the artifact that the run ends with."""
        self.dies_at = dies_at
        learn = Stage(self.learn, Checkpoint, 1, resumable="always", launches=False, retries=0, check=None)
        refreshed = frozenset({"learn"} if refresh else ())
        with session(Session(store=ArtifactStore(self.root), planning=False, run="run", refresh=refreshed)):
            made = learn(config=StageConfig())
        return (made.path / "steps.txt").read_text()


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr("prefect.task", lambda **options: lambda function: function)
    made = Training(tmp_path)
    monkeypatch.setattr(stage_module, "reachable_code", lambda path: {"gristmill.train": made.code})
    return made


OLD, NEW = "0:old 1:old 2:old 3:old", "0:new 1:new 2:new 3:new"


def test_a_refresh_takes_no_step_from_a_draft_that_a_plain_run_left(training: Training):
    training.run()
    (training.root / "checkpoint").rename(training.root / "elsewhere")
    with pytest.raises(StageFailed, match="killed"):
        training.run(dies_at=2)
    (training.root / "elsewhere").rename(training.root / "checkpoint")
    training.code = "new"
    assert training.run(refresh=True) == NEW


def test_a_refresh_that_was_killed_goes_on_and_a_plain_run_in_between_leaves_its_draft(training: Training):
    assert training.run() == OLD
    training.code = "new"
    with pytest.raises(StageFailed, match="killed"):
        training.run(refresh=True, dies_at=3)
    assert training.run() == OLD
    (draft,) = (training.root / ".drafts").glob("*/steps.txt")
    draft.write_text("0:kept 1:new 2:new")
    assert training.run(refresh=True) == "0:kept 1:new 2:new 3:new"


def test_a_refresh_by_other_code_begins_anew(training: Training):
    training.run()
    with pytest.raises(StageFailed, match="killed"):
        training.run(refresh=True, dies_at=3)
    training.code = "new"
    assert training.run(refresh=True) == NEW


def test_a_plain_run_still_goes_on_by_other_code(training: Training):
    with pytest.raises(StageFailed, match="killed"):
        training.run(dies_at=2)
    training.code = "new"
    assert training.run() == "0:old 1:old 2:new 3:new"
