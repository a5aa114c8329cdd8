"""The memory of a measured process is its own, whatever the process that started it held."""

import subprocess
import sys

PROGRAM = "from gristmill.evaluate.speed_probe import resident_megabytes; print(resident_megabytes())"


def test_what_the_starting_process_held_does_not_count():
    held = bytearray(400_000_000)
    held[::4096] = b"x" * len(held[::4096])  # touched, so that it is resident
    found = float(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout)
    assert 5 < found < 200
    del held


def test_what_the_process_itself_held_counts_after_it_was_freed():
    program = f"held = bytearray(b'x') * 300_000_000; del held; {PROGRAM}"
    found = float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert found > 300
