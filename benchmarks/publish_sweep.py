"""Publishing an artifact with one of its system calls failing, each in turn, until none is left.

    python benchmarks/publish_sweep.py EIO|ENOSPC|SIGKILL

strace (Debian) is attached to a process that is about to publish and lets its first, second, … write, fsync, rename,
link, unlink, mkdir and rmdir fail, or kills it there. Afterwards the store must hold the old artifact or the new one,
whole, where there was none also none; and the next builder must finish unaided. Part of chaos.py; seconds.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe

RECIPE = Recipe(kind="documents", stage="dedup", version=1, config={}, inputs={})
FILES = ("a.txt", "deep/b.txt")
CALLS = (
    *("write", "writev", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
)


def swept(work: Path, fault: str) -> tuple[str, list[str], list[str]]:
    """Every call, with an old artifact there and without. Returns the calls, the state after each, and what was wrong.

    fault: EIO, ENOSPC or SIGKILL.
    """
    calls: Counter[str] = Counter()
    outcomes: list[str] = []
    faults: list[str] = []
    for before in ("old", None):
        counted = _calls_of(work, before)
        calls += counted
        for call, number in counted.items():
            for at in range(1, number + 1):
                outcome, wrong = _round(work, before, f"{call}:{_inject(fault)}:when={at}")
                outcomes.append(outcome)
                faults += [f"{call} {at}, {before or 'nothing'} there: {fault_}" for fault_ in wrong]
    told = ", ".join(f"{number} {call}" for call, number in sorted(calls.items()))
    return f"{sum(calls.values())} calls ({told})", outcomes, faults


def _inject(fault: str) -> str:
    return "signal=KILL" if fault == "SIGKILL" else f"error={fault}"


def _calls_of(work: Path, before: str | None) -> Counter[str]:
    root = _fresh(work, before)
    trace = work / "trace.txt"
    assert _publish(root, ["-o", str(trace)]) == 0
    found = re.findall(r"^(?:\d+ +)?(\w+)\(", trace.read_text(), re.MULTILINE)
    return Counter(call for call in found if call in CALLS)


def _round(work: Path, before: str | None, inject: str) -> tuple[str, list[str]]:
    root = _fresh(work, before)
    code = _publish(root, ["-o", "/dev/null", "-e", f"inject={inject}"])
    state, wrong = _state(root)
    if state not in (before or "none", "new"):
        wrong.append(f"the artifact is {state}")
    if code == 0 and state != "new":
        wrong.append("publishing said it was done")
    _build(root, "repaired")
    after, more = _state(root)
    return state, [*wrong, *more, *([] if after == "repaired" else [f"the next builder left it {after}"])]


def _fresh(work: Path, before: str | None) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if before:
        _build(work / "store", before)
    return work / "store"


def _build(root: Path, content: str) -> None:
    store = ArtifactStore(root)
    with store.building(RECIPE.address) as draft:
        _fill(draft, content)
        store.publish(draft, RECIPE, Report(rows_in=1, rows_out=1), label="dedup", run=content, seconds=1.0)


def _fill(draft: Path, content: str) -> None:
    for name in FILES:
        (draft / name).parent.mkdir(exist_ok=True)
        (draft / name).write_text(f"{content} {name}")


def _publish(root: Path, options: list[str]) -> int:
    """Publish "new" in a child that strace follows from just before on. Returns its exit code, or -signal."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 3
        try:
            store = ArtifactStore(root)
            with store.building(RECIPE.address) as draft:
                _fill(draft, "new")
                os.write(ready[1], b"r")
                os.read(go[0], 1)
                report = Report(rows_in=1, rows_out=1)
                store.publish(draft, RECIPE, report, label="dedup", run="new", seconds=1.0)
            code = 0
        finally:
            os._exit(code)  # no traceback: writing it would be a call like any other
    os.read(ready[0], 1)
    command = ["strace", "-p", str(child), "-e", f"trace={','.join(CALLS)}", *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr
    assert "attached" in tracer.stderr.readline()
    os.write(go[1], b"g")
    _, status = os.waitpid(child, 0)
    tracer.communicate()
    for descriptor in (*ready, *go):
        os.close(descriptor)
    return os.waitstatus_to_exitcode(status)


def _state(root: Path) -> tuple[str, list[str]]:
    """Whose artifact is there, "none" without one; and what is wrong with it."""
    store = ArtifactStore(root)
    record = store.find(RECIPE.address)
    if record is None:
        return "none", store.verify(RECIPE.address) if store.addresses() else []
    folder = store.path(RECIPE.address)
    texts = {name: (folder / name).read_text() for name in FILES}
    mixed = [] if texts == {name: f"{record.run} {name}" for name in FILES} else [f"it holds {texts}"]
    return record.run, store.verify(RECIPE.address) + mixed


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        said, states, wrong = swept(Path(folder) / "sweep", sys.argv[1])
    print(said, Counter(states), *wrong, sep="\n")
    sys.exit(bool(wrong))
