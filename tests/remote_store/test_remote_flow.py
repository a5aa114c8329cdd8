"""The data half on S3: the same artifacts as on a disk, reused by a machine that has none of their files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from machines import SECRET, Machine
from s3_endpoint import S3Endpoint

from flows.data import data
from gristmill.config import PipelineConfig
from gristmill.objects import file_object
from gristmill.schema import Resources
from gristmill.store import ArtifactStore
from gristmill.tokens.reader import TokenShards
from gristmill.yaml import load_yaml
from tasks.stage import Session, session

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("tasks_run_at_once")]

MICRO = Path(__file__).parents[1] / "e2e" / "micro.yaml"
SMALLER = ["ingest.sources=[{kind: python_docs, name: docs, packages: [stdlib], max_modules: 40, pages_per_warc: 10}]"]


def run(store: ArtifactStore, config: PipelineConfig, *, planning: bool = False) -> Session:
    here = Session(store=store, planning=planning, run=str(store), resources=Resources(workers=1, threads=1))
    with session(here):
        data(config)
    return here


def states(done: Session) -> dict[str, str]:
    return {step.label: step.state for step in done.steps}


def files_hash(done: Session) -> str:
    """Of address, name and content of every file of every artifact."""
    entries = [f"{s.address} {entry.path} {entry.sha256}" for s in done.steps if s.record for entry in s.record.files]
    return hashlib.sha256("\n".join(sorted(entries)).encode()).hexdigest()


def test_a_flow_on_s3_makes_the_same_artifacts_and_another_machine_reuses_all(
    machine: Machine, s3: S3Endpoint, tmp_path: Path
):
    config = load_yaml(MICRO, SMALLER, PipelineConfig)
    local = run(ArtifactStore(tmp_path / "local"), config)
    s3.fault = lambda number, method, name: 503 if number % 10 == 0 else None
    built = run(machine("mill"), config)
    s3.fault = lambda number, method, name: None
    assert set(states(built).values()) == {"built"}
    assert [step.address for step in built.steps] == [step.address for step in local.steps]
    assert files_hash(built) == files_hash(local)

    s3.requests.clear()
    shop = machine("shop")
    planned = run(shop, config, planning=True)
    assert set(states(planned).values()) == {"reuse"}
    reused = run(shop, config)
    assert set(states(reused).values()) == {"reused"}
    downloaded = {name.partition("/")[2] for name in s3.asked("GET") if ".files/" in name}
    reports = [e.sha256 for step in reused.steps if step.record for e in step.record.files if e.path == "report.json"]
    assert downloaded == {file_object(sha256) for sha256 in reports}
    assert not s3.asked("PUT")

    (tokens,) = [step.address for step in reused.steps if step.label == "tokenize"]
    here, there = (TokenShards(store.path(tokens)) for store in (ArtifactStore(tmp_path / "local"), shop))
    assert np.array_equal(here.read("train", range(4)), there.read("train", range(4)))
    assert not any(SECRET in path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())
    only_docs = {path.parent.name for path in shop.root.glob("*/*") if path.is_dir() and path.name not in tokens}
    assert "warcs" in only_docs, "its report is here"
    assert not list(shop.root.glob("warcs/*/*.warc.gz"))
