"""Pid files, ports and locks of the local servers, tried with cheap HTTP servers in place of Prefect and MLflow."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flows.cli.daemon import Daemon
from flows.cli.servers import (
    HOST,
    Endpoints,
    Server,
    ServerUnavailable,
    ensure_servers,
    find_endpoints,
    free_port,
    stop_servers,
)

SERVE = ("-m", "http.server", "--bind", HOST, "{port}")
LEADER_WITH_CHILD = (
    "import subprocess, sys; subprocess.run([sys.executable, '-m', 'http.server', '--bind', *sys.argv[1:]])"
)


@pytest.fixture(autouse=True)
def no_server_named_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[dict[str, Server]]:
    """Two fake servers with ports of this test, stopped at its end."""
    port = free_port(20000 + os.getpid() % 20000)
    servers = {
        "prefect": Server("prefect", "PREFECT_API_URL", port, SERVE, health="/", api="/api"),
        "mlflow": Server("mlflow", "MLFLOW_TRACKING_URI", free_port(port + 100), SERVE, health="/"),
    }
    yield servers
    stop_servers(tmp_path, servers=list(servers.values()))


def test_servers_start_once_are_found_and_stop_without_a_trace(tmp_path: Path, pair: dict[str, Server]):
    assert find_endpoints(tmp_path, **pair) is None
    endpoints = ensure_servers(tmp_path, **pair)
    pids = _pids(tmp_path)
    assert ensure_servers(tmp_path, **pair) == endpoints == find_endpoints(tmp_path, **pair)
    assert _pids(tmp_path) == pids
    assert endpoints.prefect_api == f"http://{HOST}:{pair['prefect'].preferred_port}/api"
    assert endpoints.prefect_ui == f"http://{HOST}:{pair['prefect'].preferred_port}"
    assert len(stop_servers(tmp_path, servers=list(pair.values()))) == 2
    assert not any(_runs(pid) for pid in pids)
    assert find_endpoints(tmp_path, **pair) is None


def test_a_foreign_server_on_the_preferred_port_is_neither_used_nor_stopped(tmp_path: Path, pair: dict[str, Server]):
    port = pair["prefect"].preferred_port
    with _foreign_server(port) as foreign:
        endpoints = ensure_servers(tmp_path, **pair)
        assert endpoints.prefect_ui != f"http://{HOST}:{port}"
        stop_servers(tmp_path, servers=list(pair.values()))
        assert foreign.poll() is None


def test_a_pid_file_of_an_earlier_process_with_the_same_number_is_ignored(tmp_path: Path, pair: dict[str, Server]):
    port = pair["prefect"].preferred_port
    with _foreign_server(port) as foreign:
        pid_file = pair["prefect"].pid_file(tmp_path)
        pid_file.parent.mkdir(parents=True)
        command = tuple(psutil.Process(foreign.pid).cmdline())
        Daemon(foreign.pid, time.time() - 3600, command, port).write(pid_file)
        assert stop_servers(tmp_path, servers=[pair["prefect"]]) == []
        Daemon(foreign.pid, time.time() - 3600, command, port).write(pid_file)
        assert ensure_servers(tmp_path, **pair).prefect_ui != f"http://{HOST}:{port}"
        assert foreign.poll() is None


def test_a_damaged_pid_file_counts_as_none(tmp_path: Path, pair: dict[str, Server]):
    pid_file = pair["mlflow"].pid_file(tmp_path)
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text('{"pid": ')
    assert ensure_servers(tmp_path, **pair).mlflow_uri == f"http://{HOST}:{pair['mlflow'].preferred_port}"


def test_calls_at_the_same_time_start_each_server_once(tmp_path: Path, pair: dict[str, Server]):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ensure_servers(tmp_path, **pair), range(4)))
    assert len(set(found)) == 1
    ports = {str(server.preferred_port) for server in pair.values()}
    ours = [p for p in psutil.Process().children() if ports & set(p.cmdline())]
    assert sorted(process.pid for process in ours) == sorted(_pids(tmp_path))


def test_a_child_that_outlives_its_killed_leader_still_serves_and_is_stopped(tmp_path: Path, pair: dict[str, Server]):
    nested = pair | {"mlflow": replace(pair["mlflow"], arguments=("-c", LEADER_WITH_CHILD, HOST, "{port}"))}
    before = ensure_servers(tmp_path, **nested)
    leader = Daemon.read(nested["mlflow"].pid_file(tmp_path))
    assert leader is not None
    child = psutil.Process(leader.pid).children()[0]
    os.kill(leader.pid, signal.SIGKILL)
    os.waitpid(leader.pid, 0)
    assert ensure_servers(tmp_path, **nested) == before
    stop_servers(tmp_path, servers=list(nested.values()))
    assert not _runs(child.pid)


def test_a_server_that_does_not_start_names_its_log_and_the_last_lines(tmp_path: Path, pair: dict[str, Server]):
    broken = pair | {"mlflow": replace(pair["mlflow"], arguments=("-c", "raise SystemExit('no such table: runs')"))}
    with pytest.raises(
        ServerUnavailable, match=r"mlflow server ended while starting; .*mlflow\.log ends with: no such table"
    ):
        ensure_servers(tmp_path, **broken)


def test_a_server_that_the_user_names_is_used_and_nothing_is_started(
    tmp_path: Path, pair: dict[str, Server], monkeypatch: pytest.MonkeyPatch
):
    foreign = f"http://{HOST}:{pair['prefect'].preferred_port}"
    with _foreign_server(pair["prefect"].preferred_port):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", foreign)
        monkeypatch.setenv("PREFECT_API_URL", f"{foreign}/api")
        endpoints = ensure_servers(tmp_path, **pair)
    assert (endpoints.mlflow_uri, endpoints.mlflow_ui, endpoints.prefect_home) == (foreign, foreign, None)
    assert _pids(tmp_path) == []


def test_a_tracking_store_without_a_server_is_refused_before_anything_is_trained(
    tmp_path: Path, pair: dict[str, Server], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    with pytest.raises(ServerUnavailable, match=r"MLFLOW_TRACKING_URI=sqlite.* needs a server over http"):
        ensure_servers(tmp_path, **pair)


def test_a_named_server_that_does_not_answer_is_named_in_the_error(
    tmp_path: Path, pair: dict[str, Server], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_API_URL", f"http://{HOST}:{pair['prefect'].preferred_port}/api")
    with pytest.raises(ServerUnavailable, match=r"PREFECT_API_URL=.* does not answer .*unset PREFECT_API_URL"):
        ensure_servers(tmp_path, **pair)


def test_clients_are_pointed_at_our_servers_with_telemetry_off(tmp_path: Path):
    environment = Endpoints("http://a/api", "http://a", "http://b", "http://b", tmp_path / "prefect").environment()
    assert environment["PREFECT_API_URL"] == "http://a/api"
    assert environment["MLFLOW_TRACKING_URI"] == "http://b"
    assert environment["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_the_servers_module_imports_nothing_heavy():
    heavy = {"prefect", "mlflow", "psutil", "httpx", "rich", "torch"}
    program = f"import sys, flows.cli.servers; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def _pids(root: Path) -> list[int]:
    return [json.loads(path.read_text())["pid"] for path in (root / "servers").glob("*.json")]


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class _foreign_server:
    """An HTTP server that gristmill did not start."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __enter__(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "http.server", "--bind", HOST, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
                return self.process
            except OSError:
                threading.Event().wait(0.05)
        raise AssertionError(f"the foreign server did not come up on {self.port}")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
