"""Run a training or evaluation program: the same command in a flow, by hand, or under torchrun.

The program gets `run.yaml` and an output folder and knows neither Prefect nor MLflow. It is a process of its own, so
that its memory ends with it, a cancel can stop it, and a crash takes nothing along. The draft keeps `command.txt` and
`log.txt`: a failed night is repeated by pasting one line. Where several machines that share the store train together
(docs/distributed.md), it has a line for each of them, and only the first is started here.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import psutil

from gristmill.artifacts import Artifact
from gristmill.progress import relay
from gristmill.report import Report
from gristmill.schema import Resources, StageConfig

GRACE_S = 60.0
TORCHRUN = "gristmill.train.torchrun"
DEFAULTS = {
    "HF_HUB_OFFLINE": "1",
    # threads wait by spinning for some 30 µs, then sleep: 9,300 tokens/s of pretraining on 2 idle cores, against 8,000
    # with libgomp's default and 6,700 with none; beside a busy process long spinning starves the thread waited for
    "GOMP_SPINCOUNT": "10000",
}


class Crew:
    """Programs that run at the same time, and can be stopped together from another thread than theirs."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    @contextmanager
    def member(self, process: subprocess.Popen[str]) -> Iterator[None]:
        self._running.add(process)
        try:
            if self._stopped:
                _stop(process)
            yield
        finally:
            self._running.discard(process)

    def stop(self) -> None:
        """End all of them, as an interruption ends one; a program that starts later is ended at once."""
        self._stopped = True
        for process in list(self._running):
            _stop(process)


_crew: ContextVar[Crew] = ContextVar("crew")


@contextmanager
def crew() -> Iterator[Crew]:
    """Programs launched inside the block, in this thread or in copies of its context, belong to one crew."""
    gathered = Crew()
    token = _crew.set(gathered)
    try:
        yield gathered
    finally:
        _crew.reset(token)


def launch(
    module: str,
    out: Path,
    *,
    inputs: dict[str, Artifact | None],
    resources: Resources,
    distributed: bool = False,
    **configs: StageConfig | None,
) -> Report:
    """Run `python -m module --config run.yaml --out DRAFT` in the store's root and return the report it wrote.

    The stage that calls it says `launches=True`, and so holds the machine's GPU by then.

    distributed: the program is made for several processes, so start as many as `resources` says, by torchrun.

    Raises RuntimeError with the program's last words when it fails. On any interruption the program gets SIGTERM, time
    to write a checkpoint, then SIGKILL for whatever it started that still runs.
    """
    root = out.parent.parent
    places = {name: str(artifact.path.relative_to(root)) if artifact else None for name, artifact in inputs.items()}
    run = {
        **places,
        **{name: config.model_dump(mode="json") if config else None for name, config in configs.items()},
        "resources": resources.model_dump(),
    }
    folder = out.relative_to(root)
    (out / "run.yaml").write_text(json.dumps(run, indent=2))  # JSON is YAML, and every loader agrees on its numbers
    program = ["-m", module, "--config", str(folder / "run.yaml"), "--out", str(folder)]
    nodes = resources.nodes if distributed else 1
    commands = [[*(torchrun(resources, node) if distributed else []), *program] for node in range(nodes)]
    (out / "command.txt").write_text(
        "# in the artifact store's root, with gristmill's Python\n"
        + "".join(f"{shlex.join(['python', *command])}\n" for command in commands)
    )
    with (out / "log.txt").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, *commands[0]],
            cwd=root,
            env=DEFAULTS | os.environ | {"GRISTMILL_PROGRESS": "json"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stderr
        try:
            with _crew.get(Crew()).member(process):
                last_words = relay(process.stderr, log)
                code = process.wait()
        except BaseException:
            _stop(process)
            raise
    if code != 0:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        tail = "\n".join(last_words[-12:])
        raise RuntimeError(f"{module} {how}; its log is {out / 'log.txt'}. Its last words:\n{tail}")
    return Report.model_validate_json((out / "result.json").read_bytes())


def torchrun(resources: Resources, node: int) -> list[str]:
    """What starts a program's processes on machine number `node`; nothing where one process is wanted."""
    if resources.nodes == resources.processes == 1:
        return []
    here = ["-m", TORCHRUN, f"--nproc-per-node={resources.processes}"]
    if resources.rendezvous is None:
        return [*here, "--standalone"]
    host, port = resources.rendezvous.split(":")
    return [
        *here,
        f"--nnodes={resources.nodes}",
        f"--node-rank={node}",
        f"--master-addr={host}",
        f"--master-port={port}",
    ]


def _stop(process: subprocess.Popen[str]) -> None:
    """SIGTERM, a grace period for a checkpoint, then SIGKILL of everything that was started and still runs.

    The program alone is asked: without its helpers, such as those that compile, it could not take its last step.
    torchrun gives each of its processes a group of its own, and would kill them 30 s after a SIGTERM of its own: they
    are asked directly, and it ends when they have.
    """
    started, ranks = _descendants(process.pid), _descendants(process.pid, recursive=False)
    if ranks and TORCHRUN in process.args:  # pyright: ignore[reportOperatorIssue]
        for child in ranks:
            _send(child, signal.SIGTERM)
    else:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    for child in {*started, *_descendants(process.pid)}:
        _send(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int, *, recursive: bool = True) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):  # psutil knows a process by its start too: not a later one of that number
        process.send_signal(number)
