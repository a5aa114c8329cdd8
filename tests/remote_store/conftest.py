"""A store on moto's S3, on a folder and in memory; the endpoint is one for all tests, each has a prefix of its own."""

import sys
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from machines import SECRET, Machine
from s3_endpoint import BUCKET, S3Endpoint

from gristmill.objects import Objects
from gristmill.remote_store import RemoteStore


@pytest.fixture(scope="session")
def endpoint() -> Iterator[S3Endpoint]:
    with S3Endpoint() as started:
        yield started


@pytest.fixture
def s3(endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Endpoint]:
    """The endpoint without faults, and the environment by which clients reach it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "miller-ann-0001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    endpoint.requests.clear()
    yield endpoint
    endpoint.fault = lambda number, method, name: None
    endpoint.after = lambda method, name: None


@pytest.fixture
def machine(s3: S3Endpoint, tmp_path: Path) -> Machine:
    """A store of this test's own."""
    url = s3.url(uuid.uuid4().hex)
    return lambda name: RemoteStore(Objects(url), tmp_path / name)


@pytest.fixture(params=["s3", "file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """Objects on each kind of store."""
    name = uuid.uuid4().hex
    if request.param == "s3":
        return Objects(request.getfixturevalue("s3").url(name))
    return Objects(f"file://{tmp_path}/{name}" if request.param == "file" else f"memory://{name}")


@pytest.fixture
def tasks_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for Prefect, which needs a server."""
    stand_ins: dict[str, dict[str, Any]] = {
        "prefect": {"task": lambda **_: lambda function: function},
        "prefect.cache_policies": {"NO_CACHE": None},
        "prefect.states": {"Completed": lambda **_: None},
    }
    for name, contents in stand_ins.items():
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
