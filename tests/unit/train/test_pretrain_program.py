"""The program as a process: signals, kills, several processes."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Set
from pathlib import Path

import psutil
import pytest

from gristmill.metrics import read_metrics

pytestmark = pytest.mark.integration
PROGRAM = ["-m", "gristmill.train.pretrain"]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(make_run, tmp_path):
    """Start the program in the background, writing to a folder of this name; what still runs at the end is killed."""
    started = []

    def start_program(
        name: str, launcher: tuple[str, ...] = (), *, leave_checkpoints: bool = False, **fields
    ) -> subprocess.Popen:
        config = tmp_path / f"{name}.yaml"
        run = make_run(**fields).model_copy(update={"leave_checkpoints": leave_checkpoints})
        config.write_text(run.model_dump_json())
        command = [sys.executable, *launcher, *PROGRAM, "--config", str(config), "--out", str(tmp_path / name)]
        started.append(subprocess.Popen(command, cwd=ROOT))
        return started[-1]

    yield start_program
    for process in started:
        process.kill()
        process.wait()


def wait_for_checkpoint(out: Path, process: subprocess.Popen, *, other_than: Set[str] = frozenset()) -> set[str]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        names = {path.name for path in (out / "checkpoints").glob("step-*")}
        if names - other_than:
            return names
        assert process.poll() is None, f"the program ended with {process.returncode} before its next checkpoint"
        time.sleep(0.01)
    raise AssertionError("no checkpoint within a minute")


def outcome(out: Path) -> dict:
    """Digests of the weights and of all files of the last checkpoint, and its state: how much data in which order."""
    last = max((out / "checkpoints").glob("step-*"))
    manifest = json.loads((last / "state.json").read_text())
    weights = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    return {"weights": weights, "state": manifest["state"], "checkpoint": manifest["files"]}


def test_a_run_killed_at_any_time_twice_in_a_row_ends_with_the_same_bits(start, tmp_path):
    long = {"tokens": 100 * 4 * 12, "leave_checkpoints": True}
    assert start("straight", **long).wait() == 0
    seen: set[str] = set()
    for _ in range(2):
        process = start("killed", **long)
        seen = wait_for_checkpoint(tmp_path / "killed", process, other_than=seen)
        time.sleep(random.uniform(0, 0.1))  # wherever it is then
        process.kill()
        process.wait()
        assert not (tmp_path / "killed" / "result.json").exists()
    assert start("killed", **long).wait() == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_of_the_last_step(start, tmp_path, number, status):
    process = start("stopped", tokens=100_000 * 4 * 12)
    out = tmp_path / "stopped"
    wait_for_checkpoint(out, process)
    process.send_signal(number)
    assert process.wait(timeout=20) == status
    newest = max(path.name for path in (out / "checkpoints").iterdir())
    assert newest == f"step-{read_metrics(out / 'metrics.jsonl')[-1]['step']:08d}"


def test_the_program_does_not_outlive_the_process_that_started_it(start, tmp_path):
    parent_code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
    parent = start("orphan", launcher=("-c", parent_code), tokens=100_000 * 4 * 12)
    wait_for_checkpoint(tmp_path / "orphan", parent)
    (program,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    program.wait(timeout=20)


def test_two_processes_compute_the_losses_of_one(start, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    assert start("one").wait() == 0
    assert start("two", launcher=torchrun).wait() == 0
    one, two = (
        [row["loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl") if "loss" in row]
        for name in ("one", "two")
    )
    assert len(one) == 8
    assert two == pytest.approx(one, abs=1e-5)
