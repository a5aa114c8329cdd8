"""A run has a process for as long as its lock is held, and no longer, however the process ends."""

import subprocess
import sys
from pathlib import Path

from flows.cli.liveness import FOLDER, alive, is_dead

RUN = "0198a1b2-0000-7000-8000-00000000000a"
HOLD = f"""
import sys
from pathlib import Path
from flows.cli.liveness import alive
with alive(Path(sys.argv[1]), "{RUN}"):
    print("running", flush=True)
    sys.stdin.read()
"""


def test_a_run_is_alive_inside_its_block_and_leaves_nothing_behind(tmp_path: Path):
    with alive(tmp_path, RUN):
        assert not is_dead(tmp_path, RUN)
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_killed_process_leaves_a_dead_run(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"running\n"
        assert not is_dead(tmp_path, RUN)
        process.kill()
        process.wait()
    assert is_dead(tmp_path, RUN)


def test_a_run_of_another_machine_is_not_called_dead(tmp_path: Path):
    assert not is_dead(tmp_path, RUN)
    (tmp_path / FOLDER).mkdir()
    assert not is_dead(tmp_path, RUN)
    assert list((tmp_path / FOLDER).iterdir()) == []
