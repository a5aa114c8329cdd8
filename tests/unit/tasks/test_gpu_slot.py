"""The GPU of a machine: one holder at a time, nobody waits who does not need it, and a dead holder lets go."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gristmill.schema import Resources
from tasks import gpu_slot as module
from tasks.gpu_slot import gpu_slot, uses_gpu

CUDA, CPU = Resources(device="cuda:0"), Resources(device="cpu")
HOLD = """
import sys
from pathlib import Path
from gristmill.schema import Resources
from tasks.gpu_slot import gpu_slot
with gpu_slot(Path(sys.argv[1]), Resources(device="cuda")):
    print("holding", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_waits_until_the_first_is_done_or_dead(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"holding\n"
        got = threading.Event()

        def wait() -> None:
            with gpu_slot(tmp_path, CUDA):
                got.set()

        thread = threading.Thread(target=wait)
        thread.start()
        with gpu_slot(tmp_path, CPU):
            assert not got.wait(0.5)
        holder.kill()
        assert got.wait(10)
        thread.join()
    assert "waiting for the GPU" in capsys.readouterr().err


def test_what_starts_inside_shares_the_slot(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with gpu_slot(tmp_path, CUDA):
        with gpu_slot(tmp_path, CUDA):
            pass
        # what ended inside has not let go of the slot for what is outside
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert other.stderr
        assert b"waiting for the GPU" in other.stderr.readline()
        assert other.poll() is None
    assert other.communicate(timeout=60)[0] == b"holding\n"


@pytest.mark.parametrize(("device", "driver", "expected"), [("cuda:1", False, True), ("cpu", True, False)])
def test_the_device_says_whether_a_gpu_is_used(device: str, driver: bool, expected: bool, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "NVIDIA", tmp_path if driver else tmp_path / "none")
    assert uses_gpu(Resources(device=device)) is expected


@pytest.mark.parametrize("driver", [True, False])
def test_auto_uses_a_gpu_where_a_driver_is(driver: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "NVIDIA", tmp_path if driver else tmp_path / "none")
    assert uses_gpu(Resources(device="auto")) is driver
