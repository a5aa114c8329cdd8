"""The real Prefect and MLflow servers: they start within two minutes, answer, stay small, and leave nothing behind."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import psutil
import pytest

from flows.cli.daemon import Daemon
from flows.cli.servers import MLFLOW, PREFECT, ensure_servers, find_endpoints, stop_servers

pytestmark = pytest.mark.integration

FLOW = """
from prefect import flow, task

@task
def double(x: int) -> int:
    return 2 * x

@flow
def doubled():
    return double(21)

assert doubled() == 42
"""
RUN = """
import mlflow

with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("hello", "note.txt")
assert mlflow.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
assert mlflow.artifacts.load_text(run.info.artifact_uri + "/note.txt") == "hello"
"""


def test_real_servers_start_serve_clients_and_stop_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for server in (PREFECT, MLFLOW):
        monkeypatch.delenv(server.variable, raising=False)
    started = time.monotonic()
    try:
        endpoints = ensure_servers(tmp_path)
        assert time.monotonic() - started < 120
        daemons = {server.name: Daemon.read(server.pid_file(tmp_path)) for server in (PREFECT, MLFLOW)}
        processes = {name: daemon.processes() for name, daemon in daemons.items() if daemon}
        resident_GB = {name: sum(p.memory_info().rss for p in ours) / 1e9 for name, ours in processes.items()}
        assert resident_GB["prefect"] < 0.4
        assert resident_GB["mlflow"] < 0.6

        again = time.monotonic()
        assert ensure_servers(tmp_path) == endpoints == find_endpoints(tmp_path)
        assert time.monotonic() - again < 2

        for page in (endpoints.prefect_ui, endpoints.mlflow_ui):
            assert b"<html" in urllib.request.urlopen(page, timeout=30).read()
        foreign = {"Host": "evil.example", "Origin": "http://evil.example"}
        assert httpx.get(f"{endpoints.mlflow_ui}/api/2.0/mlflow/experiments/search", headers=foreign).status_code == 403
        assert httpx.post(f"{endpoints.prefect_api}/flows/filter", json={}).status_code == 403, "no CSRF token"
        for route in (endpoints.prefect_ui, f"{endpoints.prefect_api}/health", f"{endpoints.prefect_api}/csrf-token"):
            assert httpx.get(route, headers=foreign).status_code == 400
        answer = httpx.get(f"{endpoints.prefect_api}/health", headers={"Origin": "http://evil.example"})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers

        environment = os.environ | endpoints.environment()
        for program in (FLOW, RUN):
            done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    finally:
        stopped = stop_servers(tmp_path)
    assert len(stopped) == 2
    assert not any(process.is_running() for ours in processes.values() for process in ours)
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if any(str(tmp_path) in word for word in p.info["cmdline"] or [])
    ]
