"""The GPU of a machine: one holder at a time, nobody waits who does not need it, and a dead holder lets go."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gristmill.schema import Resources
from tasks import gpu_slot as module
from tasks.gpu_slot import gpu_slot, gpus, uses_gpu

CUDA, CPU = Resources(device="cuda"), Resources(device="cpu")
HOLD = """
import sys
from pathlib import Path
from gristmill.schema import Resources
from tasks import gpu_slot
gpu_slot.LOCKS = Path(sys.argv[1])
with gpu_slot.gpu_slot(Resources(device="cuda")):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def locks_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCKS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_second_process_waits_until_the_first_is_done_or_dead(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"holding\n"
        got = threading.Event()

        def wait() -> None:
            with gpu_slot(CUDA):
                got.set()

        thread = threading.Thread(target=wait)
        thread.start()
        with gpu_slot(CPU):
            assert not got.wait(0.5)
        holder.kill()
        assert got.wait(10)
        thread.join()
    assert "waiting for the GPU" in capsys.readouterr().err


def test_what_starts_inside_shares_the_slot(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with gpu_slot(CUDA):
        with gpu_slot(CUDA):
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


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("cuda", "", [0, 1, 10]),
        ("auto", "1", [1]),
        ("cuda", "10,0", [0, 10]),
        ("cuda:1", "", [1]),
        ("cuda:1", "0,10", [10]),
        ("cuda:1", "GPU-8932f937", [0, 1, 10]),
    ],
)
def test_the_gpus_that_a_run_may_use_are_held_by_their_number_on_the_machine(
    device: str, visible: str, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("nvidiactl", "nvidia0", "nvidia1", "nvidia10", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(module, "NVIDIA", tmp_path / "nvidiactl")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus(Resources(device=device)) == expected


def test_runs_on_two_gpus_do_not_wait_for_each_other(tmp_path: Path):
    command = [sys.executable, "-c", HOLD.replace('"cuda"', '"cuda:1"'), str(tmp_path)]
    with gpu_slot(Resources(device="cuda:0")):
        other = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=True)
    assert (other.stdout, other.stderr) == (b"holding\n", b"")
