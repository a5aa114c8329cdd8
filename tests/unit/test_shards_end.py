"""Workers of shards end with the process that started them, also when that is killed."""

import signal
import subprocess
import sys
import time

import psutil

PROGRAM = """
import sys, time
from gristmill.shards import run_here

def wait(shard):
    time.sleep(0.2 if shard == "short" else 60)
    return {}

if __name__ == "__main__":
    print("ready", flush=True)
    list(run_here(wait, [("a", "short"), ("b", "short"), ("c", "long"), ("d", "long")], workers=2))
"""


def test_workers_end_with_a_flow_that_is_killed(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    flow = subprocess.Popen([sys.executable, str(tmp_path / "program.py")], stdout=subprocess.PIPE, text=True)
    started: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(started) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        children = psutil.Process(flow.pid).children(recursive=True)
        started = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    time.sleep(1.5)  # until they wait for, or work on, their second shard
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    gone, alive = psutil.wait_procs(started, timeout=10)
    for process in alive:
        process.kill()
    assert (len(gone), alive) == (2, [])
