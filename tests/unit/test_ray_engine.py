"""What the Ray engine refuses before, and on, a cluster. What a cluster does with shards: tests/integration."""

import socket
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from gristmill import ray_engine
from gristmill.provenance import installation
from gristmill.ray_engine import RayEngine
from gristmill.schema import Resources
from gristmill.shards import map_shards


def halve(shard: int) -> dict[str, float]:
    return {"half": shard / 2}


def run(out: Path, engine: RayEngine) -> None:
    map_shards(halve, [("a", 1)], out, workers=engine, label="halve")


def test_resources_choose_who_works_on_shards():
    assert Resources(workers=3).pool == 3
    assert Resources(workers=3, engine="ray").pool == RayEngine(workers=3, address=None)
    assert Resources(workers=3, engine="ray", ray_address="head:6379").pool == RayEngine(3, "head:6379")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": "ray", "ray_address": "ray://head:10001"}, "HOST:PORT"),
        ({"engine": "ray", "ray_address": "head"}, "HOST:PORT"),
        ({"ray_address": "head:6379"}, "set engine: ray"),
    ],
)
def test_resources_that_cannot_work_are_refused(given: dict[str, str], said: str):
    with pytest.raises(ValidationError, match=said):
        Resources.model_validate(given)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'gristmill\[ray\]'"):
        run(tmp_path, RayEngine())


def test_an_address_where_nothing_listens_is_named_at_once(tmp_path: Path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'gristmill[ray]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else answers there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ValueError, match=f"{address} does not answer"):
            run(tmp_path, RayEngine(address=address))
    assert time.monotonic() - started < 2 * ray_engine.CONNECT_S


def test_a_node_with_another_folder_under_the_same_path_is_refused(tmp_path: Path):
    place = ray_engine._SharedPlace.mark(tmp_path)
    place.require()
    place.path.write_text("of another driver")
    with pytest.raises(ValueError, match="mount the artifact store"):
        place.require()
    place.unmark()
    with pytest.raises(ValueError, match="mount the artifact store"):
        place.require()


def test_a_node_with_other_code_or_packages_is_refused():
    driver = installation()
    ray_engine.require_same(driver, driver)
    without_torch = {name: version for name, version in driver.items() if name != "torch"}
    ray_engine.require_same(driver, without_torch)
    for name in ("gristmill", "Python", "pyarrow"):
        with pytest.raises(ValueError, match=f"has {name} 0.1, the driver"):
            ray_engine.require_same(driver, driver | {name: "0.1"})
