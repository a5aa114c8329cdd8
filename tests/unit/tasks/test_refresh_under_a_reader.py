"""A stage that reads an artifact while another run refreshes it sees old bytes or new ones, never some of each."""

import threading
from pathlib import Path

import pytest

from gristmill.artifacts import Documents, Warcs
from gristmill.report import Report
from gristmill.schema import StageConfig
from gristmill.store import ArtifactStore
from tasks.stage import Session, Stage, session

REPORT = Report(rows_in=0, rows_out=1)


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect.task", lambda **options: lambda function: function)


def declared(function, produces: type) -> Stage:
    return Stage(function, produces, 1, resumable="never", launches=False, retries=0, check=None)


class Mill:
    """`fetch` writes two files of one content; `clean` reads one, waits, and reads the other."""

    def __init__(self, root: Path) -> None:
        self.root, self.content = root, "old"
        self.has_read, self.may_go_on = threading.Event(), threading.Event()

    def run(self, *, refresh: frozenset[str] = frozenset(), reads: bool) -> None:
        with session(Session(store=ArtifactStore(self.root), planning=False, run="run", refresh=refresh)):
            warcs = declared(self.fetch, Warcs)(config=StageConfig())
            if reads:
                declared(self.clean, Documents)(warcs=warcs, config=StageConfig())

    def start(self, **options) -> threading.Thread:
        thread = threading.Thread(target=lambda: self.run(**options), daemon=True)
        thread.start()
        return thread

    def fetch(self, out: Path, config: StageConfig) -> Report:
        for name in ("a", "b"):
            (out / name).write_text(self.content)
        return REPORT

    def clean(self, out: Path, warcs: Warcs, config: StageConfig) -> Report:
        first = (warcs.path / "a").read_text()
        self.has_read.set()
        assert self.may_go_on.wait(20)
        (out / "both").write_text(f"{first} {(warcs.path / 'b').read_text()}")
        return REPORT

    def read(self, pattern: str) -> list[str]:
        return [path.read_text() for path in self.root.glob(pattern)]


def test_what_is_refreshed_gives_way_when_its_readers_are_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    mill = Mill(tmp_path)
    mill.run(reads=False)
    reader = mill.start(reads=True)
    assert mill.has_read.wait(20)
    mill.content = "new"
    refresher = mill.start(reads=False, refresh=frozenset({"fetch"}))
    said = ""
    while refresher.is_alive() and "is read by another run" not in said:
        refresher.join(0.02)
        said += capfd.readouterr().err
    assert mill.read("warcs/*/a") == ["old"]
    mill.may_go_on.set()
    for thread in (reader, refresher):
        thread.join(20)
        assert not thread.is_alive()
    assert mill.read("documents/*/both") == ["old old"]
    assert mill.read("warcs/*/[ab]") == ["new", "new"]
    mill.run(reads=False, refresh=frozenset({"fetch"}))  # and nobody holds it any more
