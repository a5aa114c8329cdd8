"""One process beside this one for work that may never end, take all memory or crash, so that none of it happens here.

The limit is CPU time of that process, not time on the clock: a busy machine changes no verdict. The clock is only the
last resort, for a process that waits for something.
"""

import multiprocessing
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
MAX_MEMORY_BYTES = 1 << 30
"""Address space of the process: with what the calling one needs, less than the 1.5 GB of a worker."""
WALL_FACTOR = 30
"""Seconds on the clock for each CPU-second allowed."""
START_S = 120.0


class TooCostly(Exception):
    """The work was ended. kind: `cpu`, `memory` or `crash`; found: what was measured."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(f"{kind}: {found}")
        self.kind, self.found = kind, found


class Failed(Exception):
    """The function raised; the message is its error's type and text."""


class KillableWorker:
    """Calls functions in a process of its own, started when first needed and again after it was killed.

    warm_up: (function, arguments) called once after a start, under no limit, so that imports are not counted.
    """

    def __init__(self, *warm_up: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        self._warm_up = warm_up
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def run(self, function: Callable[..., T], *arguments: Any, cpu_s: float) -> T:
        """What function(*arguments) returns; all three must be picklable.

        Raises TooCostly when it takes more than `cpu_s` seconds of CPU or too much memory, or ends the process; Failed
        when it raises.
        """
        is_fresh = self._connection is None
        try:
            return self._run(function, arguments, cpu_s)
        except TooCostly as error:
            if is_fresh or error.kind == "cpu":
                raise
        # what earlier calls have left in memory must not decide about this one
        return self._run(function, arguments, cpu_s)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _run(self, function: Callable[..., T], arguments: tuple[Any, ...], cpu_s: float) -> T:
        connection = self._started()
        try:
            connection.send((function, arguments, cpu_s))
            return self._answer(connection, cpu_s)
        except (TooCostly, Failed):
            raise
        except BaseException:  # such as Ctrl-C: the next call would be given this one's answer
            self.close()
            raise

    def _started(self) -> Connection:
        if self._connection is None:
            # spawn: a fork would copy the locks of other threads in a locked state
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            self._process = process
            theirs.close()
            try:
                for function, arguments in self._warm_up:
                    self._connection.send((function, arguments, 0.0))
                    self._answer(self._connection, START_S / WALL_FACTOR)
            except TooCostly as error:  # no page is to blame
                raise RuntimeError(
                    f"the process that parses pages does not start ({error}); see its error above"
                ) from error
        return self._connection

    def _answer(self, connection: Connection, cpu_s: float) -> Any:
        try:
            if not connection.poll(WALL_FACTOR * cpu_s):
                self.close()
                raise TooCostly("cpu", f"no answer after {WALL_FACTOR * cpu_s:.0f} s on the clock")
            outcome, value = connection.recv()
        except (EOFError, ConnectionError):
            raise self._ended(cpu_s) from None
        if outcome == "memory":
            self.close()  # what it holds may be all there is
            raise TooCostly("memory", value)
        if outcome == "raised":
            raise Failed(value)
        return value

    def _ended(self, cpu_s: float) -> TooCostly:
        assert self._process is not None
        self._process.join()
        code = self._process.exitcode
        self.close()
        if code == -signal.SIGPROF:
            return TooCostly("cpu", f"more than {cpu_s:g} CPU-seconds")
        ended = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        return TooCostly("crash", f"the parser's process ended with {ended}")


def _serve(connection: Connection) -> None:
    """The other process: answer until the pipe is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent, which closes the pipe
    sys.setrecursionlimit(1000)
    while True:
        try:
            function, arguments, cpu_s = connection.recv()
        except EOFError:
            return
        # SIGPROF comes after so much CPU time, and nothing handles it: the kernel ends the process, in any code
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            answer = ("returned", function(*arguments))
        except MemoryError:
            answer = ("memory", f"more than {MAX_MEMORY_BYTES >> 30} GiB")
        except BaseException as error:  # a panic in Rust arrives as a BaseException
            answer = ("raised", f"{type(error).__name__}: {str(error)[:200]}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(answer)
