"""Shards as tasks of a Ray cluster: the only module that imports ray (`pip install 'gristmill[ray]'`).

The driver hands shards out, a bounded number at a time, and gets their summaries back; a shard whose worker or node is
lost runs again on another. Which node takes which shard is left to Ray. Documents never pass through Ray: a shard reads
and writes files, so every node mounts the artifact store under one path, and each task looks first whether it does, and
whether its node computes with the same code. Without a shared disk shards travel through the remote artifact store
(gristmill/ray_parcels.py). Left out: drivers outside the cluster (`ray://`).
"""

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gristmill.errors import StoreUnavailable
from gristmill.provenance import installation

MAX_RETRIES = 3
"""How often a shard runs again after its worker or node was lost, or the file system failed."""
IN_FLIGHT_PER_CPU = 2
"""Shards handed to Ray for each CPU of the cluster: one that runs and one that waits, so that no CPU does."""
CONNECT_S = 10.0
POLL_S = 10.0
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": str(MAX_RETRIES),  # Ray's own default is to try for ever
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default; without it every worker warns
}
"""Environment of this process, and of a cluster it starts, where the user has set nothing else."""
JOINING = {
    "RAY_AUTH_MODE": "token",  # unset, Ray turns it on for a cluster it starts, and not for one it is told to join
    "RAY_NUM_REDIS_GET_RETRIES": "2",  # of 40 s each where something that is no Ray answers
}
"""The same where a cluster is joined."""


@dataclass(frozen=True)
class RayEngine:
    """A Ray cluster to run shards on.

    address: `HOST:PORT` of a running cluster that this machine is a node of. None: a cluster of this machine alone with
    `workers` CPUs, which ends with this process.
    shared_disk: all nodes see the folder of the artifact store under one path. Else shards go through the remote store
    where results of shards are kept there, and `workers` processes of this machine do all other work.
    """

    workers: int = 1
    address: str | None = None
    shared_disk: bool = True

    def run(
        self, function: Callable[[Any], dict[str, Any]], shards: Sequence[tuple[str, Any]], out: Path
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, function(shard)) for each shard, in the order in which they are finished.

        out: a folder that all nodes share. Raises what a shard raised; ValueError when ray is not installed, the
        address does not answer, or a node has another file system or code; RuntimeError when workers were lost with a
        shard more than MAX_RETRIES times.
        """
        if not self.shared_disk:
            from gristmill.ray_parcels import run_apart

            yield from run_apart(self, function, shards, out)
            return
        place = _SharedPlace.mark(out)
        try:
            yield from self.results(_work, function, shards, place)
        finally:
            place.unmark()

    def results(
        self, work: Callable[..., dict[str, Any]], function: Any, shards: Iterable[tuple[str, Any]], *more: Any
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, what `work(function, shard, *more, installation of the driver)` returns on a node)."""
        ray = _connected(self)
        retried: list[type[Exception]] = [OSError, StoreUnavailable]
        task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES, retry_exceptions=retried)(work)
        function_ref = ray.put(function)  # once a node, not once a shard: some hold large tables
        driver = installation()
        waiting, running = iter(shards), {}
        try:
            while True:
                for name, shard in islice(waiting, max(0, self._room(ray) - len(running))):
                    running[task.options(name=name).remote(function_ref, shard, *more, driver)] = name
                if not running:
                    return
                finished, _ = ray.wait(list(running), timeout=POLL_S)
                for ref in finished:
                    name = running.pop(ref)
                    yield name, _result(ray, ref, name)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)

    def _room(self, ray: Any) -> int:
        # asked every time: nodes come and go
        return IN_FLIGHT_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 0)))


@dataclass(frozen=True)
class _SharedPlace:
    """A file that says which folder the driver means: a node that does not see it has another one under that path."""

    path: Path
    content: str

    @classmethod
    def mark(cls, out: Path) -> "_SharedPlace":
        place = cls(out / ".done" / f"driver-{secrets.token_hex(8)}", secrets.token_hex(16))
        place.path.parent.mkdir(parents=True, exist_ok=True)
        place.path.write_text(place.content)
        return place

    def unmark(self) -> None:
        self.path.unlink(missing_ok=True)

    def require(self) -> None:
        if not self.path.is_file() or self.path.read_text() != self.content:
            raise ValueError(
                f"{socket.gethostname()}, a node of the Ray cluster, does not see the driver's folder "
                f"{self.path.parent.parent}; mount the artifact store under the same path on every node"
            )


def _work(
    function: Callable[[Any], dict[str, Any]], shard: Any, place: _SharedPlace, driver: dict[str, str]
) -> dict[str, Any]:
    """What runs on a node."""
    place.require()
    require_same(driver, installation())
    return function(shard)


def require_same(driver: dict[str, str], node: dict[str, str]) -> None:
    for name in sorted(driver.keys() & node.keys()):
        if driver[name] != node[name]:
            raise ValueError(
                f"{socket.gethostname()}, a node of the Ray cluster, has {name} {node[name]}, the driver has "
                f"{driver[name]}; install the same gristmill with the same packages on every node"
            )


def _result(ray: Any, ref: Any, name: str) -> dict[str, Any]:
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error  # its text has the traceback on the node
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"shard {name} was lost on Ray {MAX_RETRIES + 1} times ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}); if its nodes ran out of memory, give each task more of it: start Ray with "
            "fewer CPUs a node (`ray start --num-cpus`). The shards that are done are kept"
        ) from error


def _connected(engine: RayEngine) -> Any:
    """The module ray, connected to the engine's cluster; a connection that is there is used again."""
    for name, value in (SETTINGS | (JOINING if engine.address else {})).items():
        os.environ.setdefault(name, value)  # before ray is imported, which reads them
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "resources.engine=ray needs the package ray, which is not installed here: "
            "`pip install 'gristmill[ray]'`, or set resources.engine=local"
        ) from error
    if not ray.is_initialized():
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if engine.address is None:
            if "RAY_AUTH_TOKEN_PATH" not in os.environ:
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            # `local`: with no address Ray would follow RAY_ADDRESS
            ray.init(address="local", num_cpus=engine.workers, include_dashboard=False, **quiet)
        else:
            _require_answer(engine.address)
            _join(ray, engine.address, quiet)
    return ray


def _require_answer(address: str) -> None:
    """Ray itself tries for minutes, and then says little."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError as error:
        raise ValueError(
            f"resources.ray_address={address} does not answer ({error}); start the cluster (`ray start --head` there), "
            "correct the address, or set it to null for a cluster of this machine alone"
        ) from error


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **quiet)
    except ray.exceptions.AuthenticationError as error:
        raise ValueError(f"no token for the Ray cluster at {address}; {_TOKEN}") from error
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(
            f"resources.ray_address={address} answers, but lets nobody in: it is no Ray cluster that this machine is a "
            f"node of, or has another token ({str(error).splitlines()[0]}); {_TOKEN}"
        ) from error


_TOKEN = (
    "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file, to the token that the cluster was started with, or "
    "RAY_AUTH_MODE=disabled if it was started with none"
)
