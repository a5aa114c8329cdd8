"""docker-compose.yml without containers: the same programs, commands and environments as processes of this machine.

What cannot be the same is said here: moto's server stands for SeaweedFS, every host name is 127.0.0.1 with a free
port, and the volumes are folders.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())["services"]
PORTS = {"postgres": 5432, "redis": 6379, "prefect": 4310, "mlflow": 5310, "s3": 8333}
POSTGRES = next((folder for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
PYTHON_ONLY_HERE = ("prefect_redis", "psycopg2", "flask_wtf")
"""What docker/Dockerfile installs beside requirements.lock."""


def missing() -> str | None:
    """What this machine lacks for the stack, as a sentence."""
    if POSTGRES is None or not shutil.which("redis-server"):
        return "Postgres or Redis is not installed; Debian: apt install postgresql redis-server"
    lacking = [name for name in PYTHON_ONLY_HERE if find_spec(name) is None]
    return f"no {', '.join(lacking)}: pip install what docker/Dockerfile names" if lacking else None


class Stack:
    """folder: for data and logs. Use as a context; inside the block all services answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS}
        asked = set(re.findall(r"\$\{([A-Z0-9_]+):\?", (ROOT / "docker-compose.yml").read_text()))
        self.secrets = {name: secrets.token_hex(16) for name in asked} | {
            "PREFECT_AUTH": f"ann:{secrets.token_hex(16)}"
        }
        self.secrets["PREFECT_AUTH"] = f"ann:{secrets.token_hex(16)}"
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        # a user of its own runs Postgres, which refuses to be root, and has to get into its folder
        self.database = Path(tempfile.mkdtemp(prefix="gristmill-postgres-"))
        self.database_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self.database, "postgres", "postgres")
            self.database_user = {"user": "postgres", "group": "postgres", "extra_groups": []}

    def __enter__(self) -> "Stack":
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.database)

    def _start_all(self) -> None:
        self._make_database()
        self.start_postgres()
        self.psql(script=ROOT / "docker" / "postgres-init.sh")
        redis = (
            self.here(SERVICES["redis"]["command"][2])
            .replace("$$", "$")
            .replace("dir /data", f"dir {self.data('redis')}\\nbind 127.0.0.1\\nport {self.ports['redis']}")
        )
        self.start("redis", ["sh", "-c", redis], until=lambda: self.redis("ping") == "PONG")
        moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.ports["s3"])]
        self.start("s3", moto, until=lambda: self.answers("s3", "/moto-api/"))
        self.start("prefect", self.command("prefect"), until=lambda: self.answers("prefect", "/api/health"))
        self.start("prefect-services", self.command("prefect-services"))
        script = self.here((ROOT / "docker" / "mlflow.sh").read_text())
        script = script.replace("/tmp/auth.ini", str(self.folder / "auth.ini"))
        self.start("mlflow", ["bash", "-c", script], until=lambda: self.answers("mlflow", "/health"))
        self.once("init", [sys.executable, "docker/make_bucket.py", "gristmill"])
        self.start("worker-cpu", self.command("worker-cpu"), PREFECT_WORKER_WEBSERVER_PORT=str(free_port()))

    def deploy(self, deployments: Path) -> None:
        """As the service `init` does."""
        command = ["-m", "flows.cli.main", "deploy", "--pool", "cpu", "--working-dir", str(ROOT)]
        self.once("init", [sys.executable, *command, "--deployments", str(deployments)])

    def start(
        self, service: str, command: Sequence[str], *, until: Callable[[], bool] = lambda: True, **more: str
    ) -> None:
        """Start a service, and wait until it is well."""
        began = time.monotonic()
        with (self.folder / f"{service}.log").open("ab") as log:
            pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            environment = self.environment(service) | more
            self.processes[service] = subprocess.Popen(
                command, env=environment, cwd=ROOT, start_new_session=True, **pipes
            )
        wait_for(lambda: until() or self._has_ended(service))
        print(f"{service}: well after {time.monotonic() - began:.1f} s", flush=True)

    def once(self, service: str, command: Sequence[str]) -> str:
        """Run a command with a service's environment and return what it said."""
        done = subprocess.run(command, env=self.environment(service), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        print(done.stdout, end="", flush=True)
        return done.stdout

    def _has_ended(self, service: str) -> bool:
        code = self.processes[service].poll()
        assert code is None, f"{service} ended with {code}: {(self.folder / f'{service}.log').read_text()[-2000:]}"
        return False

    def command(self, service: str) -> list[str]:
        """That of docker-compose.yml, with this Python."""
        words = [self.here(word) for word in SERVICES[service]["command"]]
        return [sys.executable, *({"python": [], "prefect": ["-m", "prefect"]}[words[0]]), *words[1:]]

    def environment(self, service: str) -> dict[str, str]:
        """What docker-compose.yml gives a service, beside what any program here needs; nothing else of ours."""
        kept = ("PATH", "LANG", "PYTHONPATH", "OMP_NUM_THREADS")
        inherited = {name: os.environ[name] for name in kept if name in os.environ}
        inherited["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])])
        inherited["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]])
        given = {name: self.here(value) for name, value in SERVICES.get(service, {}).get("environment", {}).items()}
        return inherited | given

    def here(self, text: str) -> str:
        """Host names, ports, folders and secrets of a text of the stack, as they are on this machine."""
        for name, port in PORTS.items():
            text = re.sub(rf"\b(?:{name}|localhost|127\.0\.0\.1):{port}\b", f"127.0.0.1:{self.ports[name]}", text)
            text = re.sub(rf"(?<![\w:]){port}\b", str(self.ports[name]), text)
        text = {"redis": "127.0.0.1"}.get(text, text.replace("0.0.0.0", "127.0.0.1"))
        for there, folder in {"/data/artifacts": "artifacts", "/tmp/prefect": "prefect"}.items():
            text = text.replace(there, str(self.data(folder)))
        text = re.sub(r"\$\{([A-Z0-9_]+):\?[^}]*\}", lambda found: self.secrets[found[1]], text)
        text = re.sub(r"\$\{[A-Z0-9_]+:-\}", "", text)
        return str(self.folder) if text == "/tmp" else text

    def data(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def answers(self, service: str, path: str) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(self.url(service) + path, timeout=5, trust_env=False).status_code in (200, 401)
        return False

    def redis(self, *command: str) -> str:
        password = {"REDISCLI_AUTH": self.secrets["REDIS_PASSWORD"]}
        asked = ["redis-cli", "-p", str(self.ports["redis"]), *command]
        return subprocess.run(asked, env=os.environ | password, capture_output=True, text=True).stdout.strip()

    def _make_database(self) -> None:
        assert POSTGRES
        # as in the image: a password over TCP, none over the socket, which the init script uses
        command = [POSTGRES / "initdb", "-D", self.database / "data", "-U", "postgres", "--auth-host=scram-sha-256"]
        subprocess.run([*command, "--auth-local=trust"], check=True, capture_output=True, cwd="/", **self.database_user)

    def start_postgres(self) -> None:
        assert POSTGRES
        settings = {
            "port": self.ports["postgres"],
            "unix_socket_directories": self.database,
            "listen_addresses": "127.0.0.1",
        }
        given = [f"-c{name}={value}" for name, value in settings.items()]
        command = [POSTGRES / "postgres", "-D", self.database / "data", *given]
        began = time.monotonic()
        with (self.folder / "postgres.log").open("ab") as log:
            pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": "/"}
            pipes |= self.database_user
            self.processes["postgres"] = subprocess.Popen(command, start_new_session=True, **pipes)
        ready = [POSTGRES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.ports["postgres"])]
        wait_for(lambda: subprocess.run(ready).returncode == 0 or self._has_ended("postgres"))
        print(f"postgres: well after {time.monotonic() - began:.1f} s", flush=True)

    def kill_postgres(self) -> None:
        """SIGKILL of all of it, as when its machine dies."""
        os.killpg(self.processes["postgres"].pid, signal.SIGKILL)
        self.processes["postgres"].wait()

    def psql(self, query: str = "", *, database: str = "postgres", script: Path | None = None) -> str:
        assert POSTGRES
        place = {"PGHOST": str(self.database), "PGPORT": str(self.ports["postgres"]), "PGUSER": "postgres"}
        path = os.pathsep.join([str(POSTGRES), os.environ["PATH"]])
        command = ["bash", str(script)] if script else ["psql", "-At", "-d", database, "-c", query]
        environment: Mapping[str, str] = os.environ | self.secrets | place | {"PATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], Any], limit_s: float = 300, every_s: float = 0.3) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(every_s)
    return found
