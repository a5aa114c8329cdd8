"""Publishing under every fault, one at a time: afterwards the old artifact is there whole, or the new one.

A fault is injected into the first, second, … system call that `ArtifactStore.publish` makes through Python: open for
writing, write, fsync, rename, unlink, removing a tree. The sweep ends with the first number at which nothing failed.
"""

import errno
import io
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gristmill import folder_swap
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe

RECIPE = Recipe(kind="documents", stage="dedup", version=1, config={}, inputs={})
OLD, NEW = "old flour", "new flour"
MAX_CALLS = 200


class Faults:
    """Counts the calls that change the file system, and lets one of them fail or kill the process."""

    def __init__(self, at: int, fault: int | signal.Signals) -> None:
        self.at, self.fault, self.calls = at, fault, 0

    def __enter__(self) -> "Faults":
        self._patched = [
            (module, name, getattr(module, name))
            for module, name in (
                (os, "fsync"),
                (os, "rename"),
                (os, "replace"),
                (os, "unlink"),
                (os, "rmdir"),
                (os, "mkdir"),
                (shutil, "rmtree"),
                (io, "open"),
            )
        ]
        for module, name, real in self._patched:
            setattr(module, name, self._failing(real, writes_only=name == "open"))
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, real in self._patched:
            setattr(module, name, real)

    def _failing(self, real: Callable[..., Any], *, writes_only: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            mode = options.get("mode", arguments[1] if len(arguments) > 1 else "r") if writes_only else "w"
            if "w" not in mode:
                return real(*arguments, **options)
            self._count()
            return _Stream(real(*arguments, **options), self._count) if writes_only else real(*arguments, **options)

        return call

    def _count(self) -> None:
        self.calls += 1
        if self.calls != self.at:
            return
        if isinstance(self.fault, signal.Signals):
            os.kill(os.getpid(), self.fault)
        raise OSError(self.fault, os.strerror(self.fault))


class _Stream:
    """A file whose write writes half of what it is given before it may fail."""

    def __init__(self, file: Any, count: Callable[[], None]) -> None:
        self._file, self._count = file, count

    def write(self, content: Any) -> int:
        self._file.write(content[: len(content) // 2])
        self._file.flush()
        self._count()
        return self._file.write(content[len(content) // 2 :]) + len(content) // 2

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def build(root: Path, content: str, faults: Faults | None = None) -> None:
    store = ArtifactStore(root)
    with store.building(RECIPE.address) as draft:
        for name in ("a.txt", "b.txt"):
            (draft / name).write_text(f"{content} {name}")
        report = Report(rows_in=1, rows_out=1)
        if faults is None:
            store.publish(draft, RECIPE, report, label="dedup", run=content, seconds=1.0)
            return
        with faults:
            store.publish(draft, RECIPE, report, label="dedup", run=content, seconds=1.0)


def state(root: Path) -> str | None:
    """Which content the artifact has; None when there is none. Fails when it is neither whole nor absent."""
    store = ArtifactStore(root)
    record = store.find(RECIPE.address)
    if record is None:
        return None
    assert store.verify(RECIPE.address) == []
    assert {entry.path for entry in record.files} == {"a.txt", "b.txt", "report.json"}
    found = {path.name: path.read_text() for path in store.path(RECIPE.address).glob("?.txt")}
    assert found == {name: f"{record.run} {name}" for name in ("a.txt", "b.txt")}
    return record.run


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchanges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system can swap two folders in one step; NFS cannot."""
    if not request.param:
        monkeypatch.setattr(folder_swap, "_exchange", lambda left, right: False)
    return request.param


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_failing_call_leaves_the_old_or_the_new_artifact_whole(tmp_path: Path, fault: int, exchanges: bool):
    outcomes = []
    for at in range(1, MAX_CALLS):
        root = tmp_path / str(at)
        build(root, OLD)
        faults = Faults(at, fault)
        with suppress(OSError):
            build(root, NEW, faults)
        outcomes.append(state(root))
        build(root, "repaired")
        assert state(root) == "repaired"
        if faults.calls < at:
            break
    assert outcomes[-1] == NEW, "the last round had no fault"
    assert outcomes[:8] == [OLD] * 8
    assert set(outcomes) == {OLD, NEW}


def test_a_failing_call_of_a_first_build_leaves_the_artifact_whole_or_none(tmp_path: Path):
    outcomes = []
    for at in range(1, MAX_CALLS):
        faults = Faults(at, errno.EIO)
        with suppress(OSError):
            build(tmp_path / str(at), NEW, faults)
        outcomes.append(state(tmp_path / str(at)))
        if faults.calls < at:
            break
    assert outcomes[-1] == NEW
    assert outcomes[:8] == [None] * 8
    assert set(outcomes) == {NEW, None}


def test_a_kill_at_any_call_leaves_the_old_or_the_new_artifact_whole(tmp_path: Path, exchanges: bool):
    """A fork a round: only this process pays for the imports."""
    outcomes = []
    for at in range(1, MAX_CALLS):
        root = tmp_path / str(at)
        build(root, OLD)
        child = os.fork()
        if child == 0:
            try:
                build(root, NEW, Faults(at, signal.SIGKILL))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        outcomes.append(state(root))
        build(root, "repaired")
        assert state(root) == "repaired"
        if not os.WIFSIGNALED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert outcomes[-1] == NEW
    assert outcomes[:8] == [OLD] * 8
    if exchanges:
        assert set(outcomes) == {OLD, NEW}
    else:
        assert outcomes.count(None) <= 1, "the moment between the two renames"
