"""The command line on a store of its own, with the servers it starts there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MICRO = Path(__file__).with_name("micro.yaml")
PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted/Aws+0123456789abcdefghij",
    "HF_TOKEN": "hf_planted0123456789abcdefghijklmn",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-0123456789",
    "PREFECT_API_AUTH_STRING": "planted-ann:planted-prefect-0123456789",
    "PLANTED_PASSWORD": "planted-anything-0123456789",
}
"""Secrets in the environment of every command; nothing that a command leaves behind may hold one."""


class Workplace:
    """One store with servers of its own, and the command line on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        taken_away = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
        self.env = {name: value for name, value in os.environ.items() if name not in taken_away}
        self.env |= PLANTED
        self.env["GRISTMILL_HOME"] = str(home)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "flows.cli.main", *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self.env, **pipes)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate()
        assert process.returncode == code, f"{arguments}: exit {process.returncode}\n{out}\n{err}"
        return out if code == 0 else err

    def run(self, *more: str) -> dict[str, Any]:
        self("run", "--config", str(MICRO), *more)
        return self.last_run()

    def last_run(self) -> dict[str, Any]:
        return json.loads((self.home / "last_run.json").read_text())

    def server(self, name: str) -> str:
        return f"http://127.0.0.1:{json.loads((self.home / 'servers' / f'{name}.json').read_text())['port']}"
