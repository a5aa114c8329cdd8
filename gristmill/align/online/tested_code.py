"""Code that a model wrote, run against tests where it can do no harm.

Each answer runs in a process of its own: in namespaces without network and without sight of other processes
(unshare(1)), behind Landlock, which lets it read Python and write nothing, with limits on CPU time, memory and file
sizes, and without environment variables. Linux with unprivileged user namespaces and Landlock (5.13) is needed;
elsewhere nothing is run.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

MAX_MEMORY_BYTES = 1 << 29
WALL_FACTOR = 10
"""Seconds on the clock for each CPU-second allowed: code that sleeps is ended too."""
CONFINED = Path(__file__).with_name("confined.py")
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def passes_tests(pairs: Sequence[tuple[str, str]], *, cpu_s: float) -> np.ndarray:
    """1 where an answer's code runs and its tests pass after it, else 0. Float64 [pairs].

    pairs: (answer, tests); the code is the answer's first fenced block, or all of it. Raises ValueError where no
    sandbox can be had.
    """
    require_sandbox()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.array(list(pool.map(lambda pair: float(_passes(*pair, cpu_s=cpu_s)), pairs)))


def code_of(answer: str) -> str:
    """The first fenced block of an answer, or the whole answer."""
    found = _FENCE.search(answer)
    return found[1] if found else answer


@cache
def require_sandbox() -> None:
    """Raises ValueError where code cannot be run without harm: no unshare(1), no user namespaces, no Landlock."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        raise ValueError("a reward of kind code needs Linux with unshare(1) of util-linux; this machine has none")
    secret = secrets.token_hex(16)
    try:
        ended = _run(f"print({secret!r})", "", secret, cpu_s=5.0)
    except subprocess.TimeoutExpired as error:
        raise ValueError("a reward of kind code could not start its sandbox within 50 s") from error
    if ended.returncode or secret.encode() not in ended.stdout:
        raise ValueError(
            "a reward of kind code needs unprivileged user namespaces and Landlock (Linux 5.13); the sandbox said: "
            f"{ended.stderr.decode(errors='replace').strip()[-300:] or ended.returncode}"
        )


def _passes(answer: str, tests: str, *, cpu_s: float) -> bool:
    secret = secrets.token_hex(16)
    try:
        ended = _run(code_of(answer), tests, secret, cpu_s=cpu_s)
    except subprocess.TimeoutExpired:
        return False
    # the secret is printed behind the last test: leaving early with status 0 proves nothing
    return ended.returncode == 0 and ended.stdout.endswith(secret.encode())


def _run(code: str, tests: str, secret: str, *, cpu_s: float) -> "subprocess.CompletedProcess[bytes]":
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "--ipc",
        "--pid",
        "--kill-child",
        sys.executable,
        "-I",
        "-S",
        str(CONFINED),
    ]
    told = "\0".join((secret, str(max(1, round(cpu_s))), str(MAX_MEMORY_BYTES), code.replace("\0", ""), tests))
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.defpath},
        cwd="/",
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(told.encode("utf-8", "replace"), timeout=cpu_s * WALL_FACTOR)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left running too
        process.wait()
    return subprocess.CompletedProcess(command, process.returncode, out, errors)
