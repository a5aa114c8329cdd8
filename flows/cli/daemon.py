"""A background process known by its pid file: start it, find it again from another process, stop it with its children.

A pid alone proves nothing, since numbers are reused: the file also keeps when the process was created and its command.
Each daemon leads a session of its own, so a Ctrl-C in the terminal does not reach it, and children that outlive a
killed leader are still found. Needs Linux or macOS.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

STOP_GRACE_S = 10.0
CLOCK_TOLERANCE_S = 2.0  # psutil derives creation times from the boot time, which moves when the clock is corrected


@dataclass(frozen=True)
class Daemon:
    """What a pid file says. `port` is the loopback port that the process was told to listen on."""

    pid: int
    created: float
    command: tuple[str, ...]
    port: int

    @classmethod
    def start(cls, command: Sequence[str], *, port: int, env: Mapping[str, str], cwd: Path, log: Path) -> "Daemon":
        """Start the command, its output in `log`, which is emptied first. Raises OSError when it cannot be started."""
        import psutil

        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process.pid, psutil.Process(process.pid).create_time(), tuple(command), port)

    @classmethod
    def read(cls, pid_file: Path) -> "Daemon | None":
        """The daemon a pid file names, running or not. None without a readable file."""
        try:
            values = json.loads(pid_file.read_text())
            return cls(int(values["pid"]), float(values["created"]), tuple(values["command"]), int(values["port"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, pid_file: Path) -> None:
        temporary = pid_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.rename(pid_file)

    def processes(self) -> "list[psutil.Process]":
        """The leader when it runs, then every other living process of its session that is surely ours."""
        import psutil

        leader = [process for process in _alive(self.pid) if self._is_leader(process)]
        members = [
            process for pid in psutil.pids() if pid != self.pid and _session(pid) == self.pid for process in _alive(pid)
        ]
        # the kernel reuses no number of a session that still has members, but once it has none a stranger may lead a
        # session of this number: its members know nothing of our port
        return leader + (members if leader else [process for process in members if self._is_orphan(process)])

    def is_listening(self) -> bool:
        """Whether one of our own processes, and nobody else, listens on the port."""
        import psutil

        for process in self.processes():
            try:
                connections = process.net_connections(kind="tcp")
            except psutil.Error:
                continue
            if any(c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == self.port for c in connections):
                return True
        return False

    def stop(self) -> int:
        """SIGTERM, then SIGKILL after STOP_GRACE_S, to our processes only. Returns how many were stopped."""
        import psutil

        processes = self.processes()
        for send in (psutil.Process.terminate, psutil.Process.kill):
            remaining = self.processes()
            for process in remaining:
                try:
                    send(process)
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(remaining, timeout=STOP_GRACE_S)
        return len(processes)

    def _is_leader(self, process: "psutil.Process") -> bool:
        created, command = _birth(process)
        same_age = abs(created - self.created) < CLOCK_TOLERANCE_S
        # for a moment after exec the kernel shows an empty command
        return same_age and (not command or command[1:] == list(self.command[1:]))

    def _is_orphan(self, process: "psutil.Process") -> bool:
        created, command = _birth(process)
        return created > self.created - CLOCK_TOLERANCE_S and str(self.port) in command


def _alive(pid: int) -> "list[psutil.Process]":
    """The process as a list of one; an empty one when it is gone or a zombie."""
    import psutil

    try:
        process = psutil.Process(pid)
        return [process] if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


def _birth(process: "psutil.Process") -> tuple[float, list[str]]:
    """When it was created and by which command; (0, []) once it is gone."""
    import psutil

    try:
        return process.create_time(), process.cmdline()
    except psutil.Error:
        return 0.0, []


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
