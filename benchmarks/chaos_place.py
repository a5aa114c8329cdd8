"""A home in which a run is disturbed: its commands, its processes, its servers, and what its artifacts hold.

Part of chaos.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psutil

from gristmill.store import ArtifactStore

ROOT = Path(__file__).parents[1]
MICRO = ROOT / "tests/e2e/micro.yaml"
VOLATILE = {
    *("log.txt", "metrics.jsonl", "report.json", "result.json", "run.yaml", "registration.json", "promotion.json"),
    *("model_card.md", "data_card.md"),
}
"""Files of an artifact that name times, threads, versions or the registered model's name; all others are the same in
every undisturbed run."""
PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted/Aws+0123456789abcdefghij",
    "HF_TOKEN": "hf_planted0123456789abcdefghijklmn",
    "PREFECT_API_AUTH_STRING": "planted-ann:planted-prefect-0123456789",
    "PLANTED_PASSWORD": "planted-anything-0123456789",
}
"""Secrets in the environment of every command."""
RUN_LIMIT_S = 400.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    said: str
    seconds: float

    @property
    def complaint(self) -> str:
        """The sentence with which it gave up."""
        told = [line for line in self.said.splitlines() if line.startswith("gristmill:")]
        return (told or self.said.splitlines() or ["nothing"])[-1][:160]


class Place:
    """One home. env: what is set for each of its commands."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.home = home
        self.env = (
            os.environ | PLANTED | {"GRISTMILL_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env
        )
        self.store = ArtifactStore(home)

    @classmethod
    def copied(cls, reference: "Place", home: Path, env: dict[str, str]) -> "Place":
        """A home as an undisturbed run left it. The copies' dates are those of their originals."""
        if home.exists():
            shutil.rmtree(home)
        leave_out = shutil.ignore_patterns("servers", "mlflow", "prefect", ".shards", ".locks", "cache")
        shutil.copytree(reference.home, home, ignore=leave_out)
        return cls(home, env)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """A command in a session of its own; what it says goes to `said-N.txt`."""
        self.home.mkdir(parents=True, exist_ok=True)
        number = len(list(self.home.glob("said-*.txt")))
        with (self.home / f"said-{number}.txt").open("w") as said:
            command = [sys.executable, "-m", "flows.cli.main", *arguments]
            pipes: dict[str, Any] = {"stdout": said, "stderr": subprocess.STDOUT, "text": True}
            process = subprocess.Popen(command, env=self.env | env, cwd=ROOT, start_new_session=True, **pipes)
        process.said = Path(said.name)  # type: ignore[attr-defined]
        process.since = time.monotonic()  # type: ignore[attr-defined]
        return process

    def end(self, process: subprocess.Popen[str], *, limit_s: float = RUN_LIMIT_S) -> Ended:
        """Wait for a command; one that takes longer is killed, and its code is -9."""
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Ended(process.returncode, self.said(process), time.monotonic() - process.since)  # type: ignore[attr-defined]

    def said(self, process: subprocess.Popen[str]) -> str:
        """What a command has said so far."""
        return process.said.read_text(errors="replace")  # type: ignore[attr-defined]

    def __call__(self, *arguments: str, **env: str) -> Ended:
        return self.end(self.start(*arguments, **env))

    def last_run(self) -> dict[str, Any]:
        return json.loads((self.home / "last_run.json").read_text())

    def keys(self) -> dict[str, str]:
        """Stage → address, in the last run."""
        return {stage["stage"]: stage["key"] for stage in self.last_run()["stages"]}

    def built(self) -> list[str]:
        return [stage["stage"] for stage in self.last_run()["stages"] if stage["state"] == "built"]

    def forget(self, *labels: str) -> None:
        """Remove artifacts of the last run."""
        for label in labels:
            shutil.rmtree(self.store.place(self.keys()[label]))

    def draft(self, address: str) -> Path:
        return self.home / ".drafts" / address.replace("/", ".")

    def digest(self, address: str) -> str | None:
        """Of the artifact's files that two undisturbed runs have in common; None when it is not whole."""
        record = self.store.find(address)
        if record is None:
            return None
        lines = [f"{f.path} {f.sha256}" for f in record.files if Path(f.path).name not in VOLATILE]
        return sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]

    def digests(self, keys: dict[str, str]) -> dict[str, str | None]:
        return {label: self.digest(address) for label, address in keys.items()}

    def faults(self) -> list[str]:
        """What `gristmill artifacts verify` finds."""
        return [fault for address in self.store.addresses() for fault in self.store.verify(address)]

    def processes(self) -> list[psutil.Process]:
        """Everything that lives and has this home, servers apart."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("GRISTMILL_HOME") == str(self.home) and process.pid != os.getpid():
                    command = " ".join(process.cmdline())
                    if process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in command:
                        found.append(process)
        return found


def until(found: Callable[[], Any], *, limit_s: float = 120.0, every_s: float = 0.005) -> Any:
    """The first true value; None when the time is over."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(every_s)
    return None


def programs_of(flow: int) -> Iterator[psutil.Process]:
    """Training programs that a flow process has started."""
    for child in _children(flow):
        with suppress(psutil.Error):
            command = child.cmdline()
            if any(part.startswith("gristmill.") for part in command):
                yield child


def workers_of(flow: int) -> Iterator[psutil.Process]:
    """Processes of its pool of shards."""
    for child in _children(flow):
        with suppress(psutil.Error):
            if any("spawn_main" in part for part in child.cmdline()):
                yield child


def _children(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children()
    return []


class Server:
    """One of the servers that `gristmill up` started, to take it away and bring it back on its port."""

    def __init__(self, home: Path, name: str) -> None:
        self.facts = json.loads((home / "servers" / f"{name}.json").read_text())
        self.name, self.port, self.log = name, int(self.facts["port"]), home / "servers" / f"{name}-again.log"
        leader = psutil.Process(self.facts["pid"])
        self.command, self.env, self.cwd = leader.cmdline(), leader.environ(), leader.cwd()
        self.pid = leader.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        health = "/api/health" if self.name == "prefect" else "/health"
        with suppress(httpx.HTTPError):
            return httpx.get(self.url + health, timeout=5).status_code == 200
        return False

    def kill(self) -> None:
        """SIGKILL of its whole session."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.pid:
                    process.kill()
        until(lambda: not self.answers(), limit_s=20)

    def start(self) -> None:
        """The same command on the same port; returns when it answers."""
        with self.log.open("a") as log:
            pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process = subprocess.Popen(self.command, env=self.env, cwd=self.cwd, start_new_session=True, **pipes)
        self.pid = process.pid
        if not until(self.answers, limit_s=180, every_s=0.2):
            raise RuntimeError(f"{self.name} did not come back; see {self.log}")
