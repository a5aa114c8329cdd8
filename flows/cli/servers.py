"""gristmill's own Prefect and MLflow servers on this machine: `up`, `down`, and what `run` needs to reach them.

Everything lies below the artifact root: data in `prefect/` and `mlflow/`, pid files and logs in `servers/`. Both
listen on loopback only. A server counts as ours when the process in its pid file listens on its port and answers;
one that somebody else put on the preferred port is never used, nor stopped. PREFECT_API_URL and MLFLOW_TRACKING_URI
are honoured unchanged: nothing is started for what the user chose.
"""

import fcntl
import http.client
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.cli.automations import HEARTBEAT_EVERY_S
from flows.cli.daemon import Daemon
from gristmill.addresses import without_secrets
from gristmill.progress import progress

START_LIMIT_S = 120.0
PORTS_TRIED = 20
HOST = "127.0.0.1"
TELEMETRY_OFF = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class ServerUnavailable(RuntimeError):
    """A server did not start, or one the user named does not answer; the message is one sentence for the user."""


@dataclass(frozen=True)
class Server:
    """How to run one server; `{root}` and `{port}` in arguments and environment are filled in."""

    name: str
    variable: str
    """Environment variable by which a user names a server to be used instead."""
    preferred_port: int
    arguments: Sequence[str]
    """What follows the Python interpreter."""
    health: str
    """Path that answers 200 once the server is ready."""
    api: str = ""
    """Path that clients append to the address."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def url(self, port: int) -> str:
        return f"http://{HOST}:{port}{self.api}"

    def pid_file(self, root: Path) -> Path:
        return root / "servers" / f"{self.name}.json"

    def log(self, root: Path) -> Path:
        return root / "servers" / f"{self.name}.log"

    def start(self, root: Path) -> Daemon:
        """Start it on the preferred port, or the next free one, and write its pid file. Does not wait."""
        port = free_port(self.preferred_port)
        fill = {"root": root, "port": port}
        # settings of the user's other Prefect or MLflow (a database, a profile) are not meant for this one
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        ours = {name: value.format(**fill) for name, value in self.environment.items()}
        (root / self.name).mkdir(parents=True, exist_ok=True)
        daemon = Daemon.start(
            [sys.executable, *(argument.format(**fill) for argument in self.arguments)],
            port=port,
            env=inherited | TELEMETRY_OFF | ours,
            cwd=root / self.name,
            log=self.log(root),
        )
        daemon.write(self.pid_file(root))
        return daemon

    def answers(self, daemon: Daemon) -> bool:
        if not daemon.is_listening():
            return False
        connection = http.client.HTTPConnection(HOST, daemon.port, timeout=5)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


PREFECT = Server(
    name="prefect",
    variable="PREFECT_API_URL",
    preferred_port=4310,
    arguments=("-m", "flows.cli.prefect_server", "start", "--host", HOST, "--port", "{port}"),
    health="/api/health",
    api="/api",
    environment={
        "PREFECT_HOME": "{root}/prefect",
        "GRISTMILL_HOME": "{root}",
        "GRISTMILL_SWEEP": "http://" + HOST + ":{port}/api",
        "GRISTMILL_HOSTS": HOST + ",localhost",
        "PREFECT_SERVER_UI_API_URL": "http://" + HOST + ":{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # its defaults let any page in the user's browser talk to it
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://" + HOST + ":{port},http://localhost:{port}",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    },
)
MLFLOW = Server(
    name="mlflow",
    variable="MLFLOW_TRACKING_URI",
    preferred_port=5310,
    arguments=(
        *("-m", "mlflow", "server", "--host", HOST, "--port", "{port}"),
        *("--workers", "1"),  # the default of 4, with the job runner below, takes 2.5 GB
        *("--backend-store-uri", "sqlite:///{root}/mlflow/mlflow.db"),
        *("--serve-artifacts", "--artifacts-destination", "{root}/mlflow/artifacts"),
        *("--allowed-hosts", HOST + ":{port},localhost:{port}"),
    ),
    health="/health",
    environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
)


@dataclass(frozen=True)
class Endpoints:
    """Where the two servers are. `mlflow_ui` is empty when the tracking URI is no web address, both MLflow's where it
    is not needed and none is named."""

    prefect_api: str
    prefect_ui: str
    mlflow_uri: str
    mlflow_ui: str
    prefect_home: Path | None
    """Folder of our own Prefect; None when the user named another server, whose profile then stays in force."""

    def environment(self) -> dict[str, str]:
        """What to put into the environment before prefect or mlflow is imported."""
        values = {"PREFECT_API_URL": self.prefect_api, **TELEMETRY_OFF}
        if self.mlflow_uri:
            values["MLFLOW_TRACKING_URI"] = self.mlflow_uri
        values["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(HEARTBEAT_EVERY_S)
        if self.prefect_home:
            values["PREFECT_HOME"] = str(self.prefect_home)
        for name in ("no_proxy", "NO_PROXY"):  # a company's proxy cannot reach our loopback
            values[name] = ",".join(filter(None, (os.environ.get(name), HOST, "localhost")))
        return values


def ensure_servers(root: Path, *, prefect: Server = PREFECT, mlflow: Server = MLFLOW) -> Endpoints:
    """Start what does not run yet, wait until both answer, and return where they are.

    root: the artifact root. Calls at the same time start each server once. Raises ServerUnavailable.
    """
    root = root.resolve()
    servers = (prefect, mlflow)
    for server in servers:
        check_named(server)
    (root / "servers").mkdir(parents=True, exist_ok=True)
    with _one_starter(root):
        _start_missing(root, [server for server in servers if not _named(server)])
    endpoints = find_endpoints(root, prefect=prefect, mlflow=mlflow)
    if endpoints is None:
        raise ServerUnavailable(f"a server stopped just after it answered; its log in {root / 'servers'} says why")
    return endpoints


def ensure_prefect(root: Path) -> Endpoints:
    """`ensure_servers` for what asks Prefect alone: beside a server that the user named no MLflow is started."""
    named = _named(PREFECT)
    if named is None:
        return ensure_servers(root)
    check_named(PREFECT)
    return Endpoints(named, "", mlflow_uri=_named(MLFLOW) or "", mlflow_ui="", prefect_home=None)


def find_endpoints(root: Path, *, prefect: Server = PREFECT, mlflow: Server = MLFLOW) -> Endpoints | None:
    """Where both servers are, without starting or asking any. None when one of ours does not run."""
    root = root.resolve()
    prefect_api, mlflow_uri = _address(root, prefect), _address(root, mlflow)
    if not prefect_api or not mlflow_uri:
        return None
    return Endpoints(
        prefect_api=prefect_api,
        prefect_ui=without_secrets(prefect_api).removesuffix("/").removesuffix(prefect.api),
        mlflow_uri=mlflow_uri,
        mlflow_ui=without_secrets(mlflow_uri) if mlflow_uri.startswith("http") else "",
        prefect_home=None if _named(prefect) else root / prefect.name,
    )


def stop_servers(root: Path, *, servers: Sequence[Server] = (PREFECT, MLFLOW)) -> list[str]:
    """Stop the servers in our pid files, with their children, and nothing else. Returns a line for each stopped."""
    root = root.resolve()
    if not (root / "servers").is_dir():
        return []
    lines = []
    with _one_starter(root):
        for server in servers:
            daemon = Daemon.read(server.pid_file(root))
            stopped = daemon.stop() if daemon else 0
            server.pid_file(root).unlink(missing_ok=True)
            if daemon and stopped:
                lines.append(f"stopped {server.name} on port {daemon.port} (pid {daemon.pid}, {stopped} processes)")
    return lines


def check_named(server: Server) -> None:
    """Raise ServerUnavailable when the user named a server that does not answer, or is not spoken to over HTTP."""
    url = _named(server)
    if not url:
        return
    shown = without_secrets(url)
    if not url.startswith("http"):
        raise ServerUnavailable(
            f"{server.variable}={shown}: gristmill needs a server over http here; unset it and gristmill starts its own"
        )
    health = shown.removesuffix("/").removesuffix(server.api) + server.health
    try:
        urllib.request.urlopen(health, timeout=10).close()  # nosec B310
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is between it and its client
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ServerUnavailable(
            f"{server.variable}={shown} does not answer ({reason}); start that server, "
            f"or unset {server.variable} and gristmill starts its own"
        ) from None


def up(root: Path) -> int:
    """`gristmill up`: start both servers and print where they are. Returns the exit code."""
    try:
        endpoints = ensure_servers(root)
    except ServerUnavailable as error:
        print(f"gristmill up: {error}", file=sys.stderr)
        return 1
    print(f"Prefect  {endpoints.prefect_ui}\nMLflow   {endpoints.mlflow_ui}")
    return 0


def down(root: Path) -> int:
    """`gristmill down`: stop our servers and print which. Returns the exit code."""
    lines = stop_servers(root)
    print("\n".join(lines) or f"none of gristmill's servers runs for {root}")
    return 0


def _start_missing(root: Path, servers: Sequence[Server]) -> None:
    waiting: dict[str, tuple[Server, Daemon]] = {}
    for server in servers:
        daemon = Daemon.read(server.pid_file(root))
        if daemon is None or not daemon.processes():
            daemon = server.start(root)
        if not server.answers(daemon):
            waiting[server.name] = (server, daemon)
    if not waiting:
        return
    deadline = time.monotonic() + START_LIMIT_S
    with progress(f"starting {' and '.join(waiting)}", total=len(waiting), unit="servers") as bar:
        while waiting:
            for server, daemon in list(waiting.values()):
                if server.answers(daemon):
                    del waiting[server.name]
                    bar.advance(note=f"{server.name} answers")
                elif time.monotonic() > deadline:
                    daemon.stop()
                    raise _failure(root, server, f"did not answer within {START_LIMIT_S:.0f} s and was stopped")
                elif not daemon.processes():
                    waiting[server.name] = (server, _restart_elsewhere(root, server, daemon))
            bar.advance(0)
            time.sleep(0.2)


def _restart_elsewhere(root: Path, server: Server, daemon: Daemon) -> Daemon:
    """A server that ended because another process took its port meanwhile is started on the next one."""
    if free_port(daemon.port) == daemon.port:
        raise _failure(root, server, "ended while starting")
    return server.start(root)


def _failure(root: Path, server: Server, what: str) -> ServerUnavailable:
    log = server.log(root)
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return ServerUnavailable(f"the {server.name} server {what}; {log} ends with: {' | '.join(lines[-4:]) or 'nothing'}")


def _address(root: Path, server: Server) -> str | None:
    if named := _named(server):
        return named
    daemon = Daemon.read(server.pid_file(root))
    return server.url(daemon.port) if daemon and daemon.is_listening() else None


def _named(server: Server) -> str | None:
    return os.environ.get(server.variable) or None


def free_port(preferred: int) -> int:
    """The preferred loopback port or the next free one; any free one when PORTS_TRIED of them are taken."""
    for port in (*range(preferred, preferred + PORTS_TRIED), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise ServerUnavailable(f"no free port on {HOST}; close programs that listen there")


@contextmanager
def _one_starter(root: Path) -> Iterator[None]:
    """Hold the lock under which servers are started and stopped; the kernel drops it when its holder dies."""
    with (root / "servers" / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"waiting for another gristmill that starts or stops the servers of {root}", file=sys.stderr, flush=True
            )
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
