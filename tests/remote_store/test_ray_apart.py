"""Ray nodes that see nothing of the driver's disk: shards travel through the store."""

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from machines import REPORT, Machine
from s3_endpoint import S3Endpoint

from gristmill.ray_engine import SETTINGS, RayEngine
from gristmill.shard_cache import ShardCache
from gristmill.shards import map_shards
from gristmill.store import Recipe

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'gristmill[ray]'")
pytestmark = pytest.mark.integration

from ray._private.authentication.authentication_token_setup import _enable_token_auth  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402


@dataclass(frozen=True)
class Grinding:
    """Names its input by folder and name, as `extract` does, and a file outside of the store by its path."""

    store: Path
    name: str
    out: Path
    stone: Path
    driver_disk: str

    @property
    def input(self) -> tuple[Path, str]:
        return self.store / self.name, hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        return {}

    @property
    def files(self) -> list[Path]:
        return [self.out / f"{self.name}.flour", self.out / "deep" / f"{self.name}.bran"]


def grind(shard: Grinding) -> dict[str, Any]:
    places = [shard.input[0], shard.stone, *shard.files]
    assert not any(str(path).startswith(shard.driver_disk) for path in places), "this is the driver's disk"
    for path in shard.files:
        path.write_text(f"{path.suffix} of {shard.input[0].read_text()} by {shard.stone.read_text()}")
    return {"name": shard.name, "node": ray.get_runtime_context().get_node_id()}


@pytest.fixture
def cluster(s3: S3Endpoint) -> Iterator[Cluster]:
    """Of two nodes; what they get from the environment is where the store is and how to get in."""
    os.environ.update(SETTINGS)
    os.environ["RAY_AUTH_TOKEN"] = "5e" * 32
    _enable_token_auth()
    for module in (__name__, "machines"):
        ray.cloudpickle.register_pickle_by_value(sys.modules[module])  # nodes cannot import a test
    node = {"num_cpus": 1, "object_store_memory": 100_000_000}
    started = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    started.add_node(num_cpus=1, object_store_memory=100_000_000)
    started.wait_for_nodes()
    yield started
    ray.shutdown()
    started.shutdown()


def test_shards_travel_through_the_store(cluster: Cluster, machine: Machine, s3: S3Endpoint, tmp_path: Path):
    store = machine("driver")
    stone = tmp_path / "stone.txt"
    stone.write_text("granite")
    recipe = Recipe(kind="documents", stage="grind", version=1, config={}, inputs={})
    names = [f"sack-{number}" for number in range(6)]
    sacks = store.root / "documents" / "sacks-01"
    sacks.mkdir(parents=True)
    for name in names:
        (sacks / name).write_text(name)
    engine = RayEngine(1, cluster.address, shared_disk=False)
    with store.building(recipe.address) as draft:
        shards = [(name, Grinding(sacks, name, draft, stone, str(tmp_path))) for name in names]
        cache = store.shard_cache("grind-01", fresh=False)
        found = map_shards(cache.reusing(grind), shards, draft, workers=engine, label="grind")
        assert [summary["name"] for summary in found] == names
        assert all("reused" not in summary for summary in found)
        for _, shard in shards:
            assert [path.read_text() for path in shard.files] == [
                f".flour of {shard.name} by granite",
                f".bran of {shard.name} by granite",
            ]
        store.publish(draft, recipe, REPORT, label="grind", run="test", seconds=1.0)
    assert store.verify(recipe.address) == []
    again = [(name, Grinding(sacks, name, tmp_path / "again", stone, str(tmp_path))) for name in names]
    assert all(
        summary["reused"]
        for summary in map_shards(cache.reusing(grind), again, tmp_path / "again", workers=engine, label="grind")
    )
    local = ShardCache(tmp_path / "local")
    with pytest.raises(ValueError, match="GRISTMILL_STORE"):
        map_shards(local.reusing(grind), again, tmp_path / "more", workers=engine, label="grind")
