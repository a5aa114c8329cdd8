"""Stages on a remote store: inputs come when a stage is built, and never for one that is reused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from machines import Machine
from s3_endpoint import S3Endpoint

from gristmill.artifacts import Documents, Warcs
from gristmill.objects import StoreUnavailable
from gristmill.remote_gc import delete_copy
from gristmill.report import Report
from gristmill.schema import StageConfig
from gristmill.scope import scope_of_artifact
from gristmill.store import ArtifactStore
from tasks.stage import Session, session, stage

pytestmark = pytest.mark.usefixtures("tasks_run_at_once")


class Knobs(StageConfig):
    beta: float = 0.1


while_cleaning: list[Callable[[], Any]] = []


@pytest.fixture(autouse=True)
def _nothing_happens_meanwhile() -> None:
    while_cleaning.clear()


@stage(produces=Warcs, version=1)
def fetch(out: Path, config: Knobs) -> Report:
    (out / "crawl.warc").write_text(f"pages {config.beta}")
    return Report(rows_in=0, rows_out=1)


@stage(produces=Documents, version=1)
def clean(out: Path, warcs: Warcs, config: Knobs) -> Report:
    for happening in while_cleaning:
        happening()
    (out / "part.txt").write_text((warcs.path / "crawl.warc").read_text().upper())
    return Report(rows_in=1, rows_out=1)


@stage(produces=Documents, version=1)
def compare(out: Path, warcs: Mapping[str, Warcs], config: Knobs) -> Report:
    (out / "all.txt").write_text(" ".join((each.path / "crawl.warc").read_text() for each in warcs.values()))
    return Report(rows_in=len(warcs), rows_out=1)


def run(store: ArtifactStore, *, beta: float = 0.1, name: str = "", **options: Any) -> Session:
    here = Session(**{"store": store, "planning": False, "run": name or store.root.name, **options})
    with session(here):
        documents = clean(warcs=fetch(config=Knobs()), config=Knobs(beta=beta))
        if not here.planning:
            behind = scope_of_artifact(store, documents.address).records
            assert [record.address for record in behind] == [step.address for step in here.steps]
    return here


def states(done: Session) -> list[str]:
    return [step.state for step in done.steps]


def files(store: ArtifactStore) -> set[str]:
    """What this machine has of artifacts, beside records and reports."""
    found = {path.name for path in store.root.glob("[!.]*/*/*")}
    return found - {"record.json", "report.json"}


def test_what_one_machine_built_another_one_reuses_without_a_download(machine: Machine):
    assert states(run(machine("mill"))) == ["built", "built"]
    shop = machine("shop")
    assert states(run(shop, planning=True)) == ["reuse", "reuse"]
    assert states(run(shop)) == ["reused", "reused"]
    assert files(shop) == set()


def test_the_inputs_of_a_stage_come_when_it_is_built(machine: Machine):
    run(machine("mill"))
    shop = machine("shop")
    assert states(run(shop, beta=0.2, planning=True)) == ["reuse", "build"]
    assert files(shop) == set()
    assert states(run(shop, beta=0.2)) == ["reused", "built"]
    assert files(shop) == {"crawl.warc", "part.txt"}


def test_inputs_that_are_given_by_name_come_too_and_gc_leaves_them(machine: Machine):
    with session(Session(store=machine("mill"), planning=False, run="mill")):
        for beta in (0.1, 0.2):
            fetch(config=Knobs(beta=beta))
    shop = machine("shop")
    with session(Session(store=shop, planning=False, run="shop")):
        fetched = {str(beta): fetch(config=Knobs(beta=beta)) for beta in (0.1, 0.2)}
        assert files(shop) == set()
        made = compare(warcs=fetched, config=Knobs())
    assert (shop.path(made.address) / "all.txt").read_text() == "pages 0.1 pages 0.2"
    assert not any(delete_copy(machine("shop"), each.address) for each in fetched.values())


def test_a_stage_that_another_machine_publishes_meanwhile_gives_way_to_it(machine: Machine):
    mill, shop = machine("mill"), machine("shop")

    def other_machine() -> None:
        while_cleaning.clear()
        run(mill)

    while_cleaning.append(other_machine)
    done = run(shop)
    record = done.steps[1].record
    assert record
    assert record.run == "mill"
    assert (shop.path(record.address) / "part.txt").read_text() == "PAGES 0.1"


def test_a_store_that_is_away_stops_a_plan_at_once_and_does_not_look_like_an_empty_one(
    machine: Machine, s3: S3Endpoint, monkeypatch: pytest.MonkeyPatch
):
    run(machine("mill"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3.fault = lambda number, method, name: 503
    with pytest.raises(StoreUnavailable):
        run(machine("shop"), planning=True)


def test_what_was_finished_but_not_uploaded_is_not_built_again(
    machine: Machine, s3: S3Endpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    mill, cleaned = machine("mill"), []
    while_cleaning.append(lambda: cleaned.append(1))
    s3.fault = lambda number, method, name: 403 if method == "PUT" and cleaned else None
    with pytest.raises(StoreUnavailable):
        run(mill, name="first")
    s3.fault = lambda number, method, name: None
    done = run(mill, name="second")
    assert states(done) == ["reused", "reused"]
    assert done.steps[1].record
    assert done.steps[1].record.run == "first"
    assert len(cleaned) == 1


def test_a_refresh_that_was_finished_but_not_uploaded_is_not_built_again(
    machine: Machine, s3: S3Endpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    mill, cleaned = machine("mill"), []
    run(mill, name="first")
    while_cleaning.append(lambda: cleaned.append(1))
    s3.fault = lambda number, method, name: 403 if method == "PUT" and cleaned else None
    with pytest.raises(StoreUnavailable):
        run(mill, name="refresh", refresh=frozenset({"clean"}))
    s3.fault = lambda number, method, name: None
    assert states(run(mill, name="without")) == ["reused", "reused"]
    assert len(mill.drafts()) == 1
    done = run(mill, name="again", refresh=frozenset({"clean"}))
    assert (cleaned, states(done)) == ([1], ["reused", "reused"])
    record = machine("shop").find(done.steps[1].address)
    assert record
    assert record.run == "refresh"
    assert states(run(mill, name="anew", refresh=frozenset({"clean"}))) == ["reused", "built"]
