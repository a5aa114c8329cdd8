"""Shards on a Ray cluster of two nodes on this machine, one of which is killed while it works."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.ray_engine import SETTINGS, RayEngine
from gristmill.shards import map_shards

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'gristmill[ray]'")
pytestmark = pytest.mark.integration

from ray._private.authentication.authentication_token_setup import _enable_token_auth  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

SHARDS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    os.environ.update(SETTINGS)
    os.environ["RAY_AUTH_TOKEN"] = "5e" * 32
    _enable_token_auth()  # as `ray start` does where there is a token
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes cannot import a test
    node = {"num_cpus": 1, "object_store_memory": 100_000_000}
    started = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    yield started
    ray.shutdown()
    started.shutdown()


def work(shard: tuple[int, Path]) -> dict[str, Any]:
    number, out = shard
    node = ray.get_runtime_context().get_node_id()
    with (out / "begun.txt").open("a") as begun:
        begun.write(f"{number} {node}\n")
    time.sleep(1.0)
    (out / f"{number}.txt").write_text(f"{number}")
    return {"number": number, "node": node}


def begun(out: Path, node: str) -> list[int]:
    """The shards that a node has begun."""
    lines = (out / "begun.txt").read_text().splitlines() if (out / "begun.txt").exists() else []
    return [int(line.split()[0]) for line in lines if line.endswith(node)]


def test_the_shards_of_a_node_that_is_killed_run_again_on_another(cluster: Cluster, tmp_path: Path):
    doomed = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    cluster.wait_for_nodes()
    killed: list[int] = []

    def kill() -> None:
        while len(begun(tmp_path, doomed.node_id)) < 2:
            time.sleep(0.05)
        killed.extend(begun(tmp_path, doomed.node_id))
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    shards = [(f"{number:05d}", (number, tmp_path)) for number in range(SHARDS)]
    summaries = map_shards(work, shards, tmp_path, workers=RayEngine(address=cluster.address), label="test")
    killer.join()
    assert [summary["number"] for summary in summaries] == list(range(SHARDS))
    assert all((tmp_path / f"{number}.txt").read_text() == str(number) for number in range(SHARDS))
    (again,) = [number for number in killed if summaries[number]["node"] != doomed.node_id]
    assert again == killed[-1], "the shard it was working on, and no other"
    assert {path.name for path in (tmp_path / ".done").iterdir()} == {name for name, _ in shards}


def fail(shard: str) -> dict[str, Any]:
    if shard == "killer":
        os._exit(1)
    raise KeyError(f"a fault of {shard}")


def test_what_a_shard_raises_arrives(cluster: Cluster, tmp_path: Path):
    with pytest.raises(KeyError, match="a fault of the shard"):
        map_shards(fail, [("a", "the shard")], tmp_path, workers=RayEngine(address=cluster.address), label="test")
    assert not list((tmp_path / ".done").iterdir())


def test_a_shard_that_ends_its_worker_each_time_is_given_up_by_name(cluster: Cluster, tmp_path: Path):
    with pytest.raises(RuntimeError, match="shard 00007 was lost on Ray 4 times"):
        map_shards(fail, [("00007", "killer")], tmp_path, workers=RayEngine(address=cluster.address), label="test")


def test_a_finished_shard_is_not_run_again(cluster: Cluster, tmp_path: Path):
    engine = RayEngine(address=cluster.address)
    for count in (2, 3):
        map_shards(work, [(f"{n}", (n, tmp_path)) for n in range(count)], tmp_path, workers=engine, label="test")
    assert sorted(line.split()[0] for line in (tmp_path / "begun.txt").read_text().splitlines()) == ["0", "1", "2"]
