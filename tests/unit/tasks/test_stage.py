"""Planning: what a stage's key depends on, and how a plan explains itself. Nothing here starts Prefect."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gristmill.artifacts import Checkpoint, Documents, Warcs
from gristmill.errors import NotHere
from gristmill.report import Report
from gristmill.schema import Resources, SourceUnavailable, StageConfig
from gristmill.store import ArtifactStore, Recipe, Record
from tasks.stage import Session, Stage, checkpoint_at, session, stage, variant


class Knobs(StageConfig):
    beta: float = 0.1
    place: str = "somewhere"

    def identity(self) -> dict:
        if self.place == "unreachable":
            raise SourceUnavailable("source not reachable")
        return self.model_dump(exclude={"place"})


@stage(produces=Warcs, version=1)
def fetch(out: Path, config: Knobs) -> Report:
    return Report(rows_in=0, rows_out=1)


@stage(produces=Documents, version=1)
def clean(out: Path, warcs: Warcs, config: Knobs, resources: Resources = Resources()) -> Report:
    return Report(rows_in=1, rows_out=1)


@stage(produces=Checkpoint, version=1)
def learn(out: Path, documents: Documents, over: str | None, config: Knobs) -> Report:
    return Report(rows_in=1, rows_out=1)


@stage(produces=Checkpoint, version=1)
def adapt(out: Path, over: str | None, config: Knobs, base: Checkpoint | None = None) -> Report:
    return Report(rows_in=1, rows_out=1)


def plan(root: Path, knobs: dict[str, Knobs] | None = None, **options: object) -> Session:
    knobs = {"fetch": Knobs(), "clean": Knobs(), "learn": Knobs()} | (knobs or {})
    planned = Session(store=ArtifactStore(root), planning=True, warn=lambda text: None, **options)  # type: ignore[arg-type]
    with session(planned):
        warcs = fetch(config=knobs["fetch"])
        documents = clean(warcs=warcs, config=knobs["clean"])
        learn(documents=documents, over=None, config=knobs["learn"])
    return planned


def build(root: Path, planned: Session) -> dict:
    """Publish empty artifacts for all steps of a plan, as a run would."""
    store = ArtifactStore(root)
    for step in planned.steps:
        assert step.recipe
        with store.building(step.address) as draft:
            store.publish(draft, step.recipe, Report(rows_in=1, rows_out=1), label=step.label, run="first", seconds=2.0)
    return {step.label: step.recipe for step in planned.steps}


def states(planned: Session) -> list[str]:
    return [step.state for step in planned.steps]


def test_a_fresh_store_builds_everything_and_a_full_one_reuses_it(tmp_path: Path):
    first = plan(tmp_path)
    assert states(first) == ["build"] * 3
    earlier = build(tmp_path, first)
    second = plan(tmp_path, earlier=earlier)
    assert states(second) == ["reuse"] * 3
    assert [step.record.run for step in second.steps if step.record] == ["first"] * 3


def test_a_changed_setting_rebuilds_its_stage_and_what_follows_and_says_old_and_new(tmp_path: Path):
    earlier = build(tmp_path, plan(tmp_path))
    changed = plan(tmp_path, {"clean": Knobs(beta=0.2)}, earlier=earlier)
    assert states(changed) == ["reuse", "build", "build"]
    assert changed.steps[1].because == ["clean.beta: 0.1 → 0.2"]
    (because,) = changed.steps[2].because
    assert because.startswith("input documents: documents/clean-")


def test_what_does_not_decide_bytes_changes_no_key(tmp_path: Path):
    build(tmp_path, plan(tmp_path))
    moved = {"fetch": Knobs(place="elsewhere"), "clean": Knobs(place="elsewhere")}
    assert states(plan(tmp_path, moved, resources=Resources(workers=7, threads=3))) == ["reuse"] * 3


def test_a_source_that_cannot_be_looked_at_blocks_itself_and_what_needs_it(tmp_path: Path):
    blocked = plan(tmp_path, {"fetch": Knobs(place="unreachable")})
    assert states(blocked) == ["blocked"] * 3
    assert blocked.steps[0].because == ["source not reachable"]
    assert "waits for" in blocked.steps[1].because[0]


def test_refresh_builds_a_stage_although_it_is_there(tmp_path: Path):
    build(tmp_path, plan(tmp_path))
    assert states(plan(tmp_path, refresh=frozenset({"learn"}))) == ["reuse", "reuse", "build"]


def test_an_artifact_removed_by_hand_is_built_again_and_nothing_else(tmp_path: Path):
    first = plan(tmp_path)
    build(tmp_path, first)
    record = ArtifactStore(tmp_path).path(first.steps[1].address) / "record.json"
    record.unlink()
    assert states(plan(tmp_path)) == ["reuse", "build", "reuse"]


def test_a_hit_that_no_longer_holds_outside_the_store_is_built_again(tmp_path: Path):
    def always_gone(record: Record, folder: Path) -> str | None:
        return "the registry was emptied"

    def publishes(out: Path, config: Knobs) -> Report:
        return Report(rows_in=0, rows_out=1)

    checked = Stage(publishes, Warcs, 1, resumable="never", launches=False, retries=0, check=always_gone)
    planned = Session(store=ArtifactStore(tmp_path), planning=True)
    with session(planned):
        checked(config=Knobs())
    build(tmp_path, planned)
    again = Session(store=ArtifactStore(tmp_path), planning=True)
    with session(again):
        checked(config=Knobs())
    assert (again.steps[0].state, again.steps[0].because) == ("build", ["the registry was emptied"])


def test_an_artifact_named_by_its_address_stands_in_for_a_call(tmp_path: Path):
    build(tmp_path, plan(tmp_path))
    address = plan(tmp_path).steps[0].address
    pinned = Session(store=ArtifactStore(tmp_path), planning=True)
    with session(pinned):
        documents = clean(warcs=fetch.at(address), config=Knobs(beta=0.3))
    assert [(step.label, step.state) for step in pinned.steps] == [("fetch", "reuse"), ("clean", "build")]
    assert pinned.steps[0].address == address
    assert pinned.steps[1].recipe.inputs == {"warcs": address}  # type: ignore[union-attr]
    assert documents.address == pinned.steps[1].address
    running = Session(store=ArtifactStore(tmp_path), planning=False)
    with session(running):
        assert fetch.at(address).path.is_dir()
    (step,) = running.steps
    assert (step.state, step.report, step.record) == ("reused", Report(rows_in=1, rows_out=1), pinned.steps[0].record)


def test_a_named_artifact_that_is_not_there_blocks_the_plan_and_what_needs_it(tmp_path: Path):
    missing = "warcs/fetch-000000000000"
    blocked = Session(store=ArtifactStore(tmp_path), planning=True)
    with session(blocked):
        clean(warcs=fetch.at(missing), config=Knobs())
    assert states(blocked) == ["blocked", "blocked"]
    assert blocked.steps[0].because[0].startswith(f"{missing} is not (whole) in {tmp_path}")
    assert blocked.steps[1].because == [f"waits for {missing}"]
    with (
        session(Session(store=ArtifactStore(tmp_path), planning=False)),
        pytest.raises(NotHere, match=missing),
    ):
        fetch.at(missing)


def test_a_checkpoint_that_is_not_there_is_asked_for_in_vain(tmp_path: Path):
    missing = "checkpoint/pretrain-000000000000"
    with session(Session(store=ArtifactStore(tmp_path), planning=False)), pytest.raises(NotHere, match=missing):
        checkpoint_at(missing)


def test_a_stage_may_refuse_inputs_that_do_not_go_together(tmp_path: Path):
    asked: list[tuple[list[str], float]] = []

    def too_bold(store: ArtifactStore, recipes: dict[str, Recipe], arguments: dict[str, Any]) -> str | None:
        asked.append(([recipe.stage for recipe in recipes.values()], arguments["config"].beta))
        return "beta is too bold" if arguments["config"].beta > 1 else None

    def shape(out: Path, warcs: Warcs, config: Knobs) -> Report:
        return Report(rows_in=0, rows_out=1)

    refusing = stage(produces=Documents, version=1, refuses=too_bold)(shape)
    planned = Session(store=ArtifactStore(tmp_path), planning=True)
    with session(planned):
        warcs = fetch(config=Knobs())
        refusing(warcs=warcs, config=Knobs())
        refusing["again"](warcs=warcs, config=Knobs(beta=2))
    assert states(planned) == ["build", "build", "blocked"]
    assert planned.steps[2].because == ["beta is too bold"]
    assert asked == [(["fetch"], 0.1), (["fetch", "shape"], 2)]
    with (
        session(Session(store=ArtifactStore(tmp_path), planning=False)),
        pytest.raises(ValueError, match="beta is too bold"),
    ):
        refusing(warcs=warcs, config=Knobs(beta=2))


def test_an_instance_has_a_label_of_its_own_and_the_same_key(tmp_path: Path):
    planned = Session(store=ArtifactStore(tmp_path), planning=True)
    with session(planned):
        fetch["night"](config=Knobs())
        fetch(config=Knobs())
    assert [step.label for step in planned.steps] == ["fetch[night]", "fetch"]
    assert planned.steps[0].address == planned.steps[1].address


def test_something_that_cannot_be_hashed_is_refused_instead_of_ignored(tmp_path: Path):
    with (
        session(Session(store=ArtifactStore(tmp_path), planning=True)),
        pytest.raises(TypeError, match="part of a key"),
    ):
        fetch(config=object())  # type: ignore[arg-type]


def test_what_follows_a_refreshed_stage_is_built_again_too(tmp_path: Path):
    build(tmp_path, plan(tmp_path))
    refreshed = plan(tmp_path, refresh=frozenset({"fetch"}))
    assert states(refreshed) == ["build"] * 3
    assert refreshed.steps[2].because == [f"input {refreshed.steps[1].address} is built again"]


@stage(produces=Checkpoint, version=1)
def merge(out: Path, parts: Mapping[str, Documents], config: Knobs) -> Report:
    return Report(rows_in=1, rows_out=1)


def plan_merge(root: Path, second: Knobs, **options: object) -> Session:
    planned = Session(store=ArtifactStore(root), planning=True, warn=lambda text: None, **options)  # type: ignore[arg-type]
    with session(planned):
        warcs = fetch(config=Knobs())
        parts = {"a": clean(warcs=warcs, config=Knobs()), "b": clean["b"](warcs=warcs, config=second)}
        merge(parts=parts, config=Knobs())
    return planned


def test_artifacts_by_name_are_inputs_of_their_own(tmp_path: Path):
    planned = plan_merge(tmp_path, Knobs(beta=0.2))
    a, b, merged = planned.steps[1:]
    assert merged.recipe
    assert merged.recipe.inputs == {"parts.a": a.address, "parts.b": b.address}
    build(tmp_path, planned)
    assert states(plan_merge(tmp_path, Knobs(beta=0.2))) == ["reuse"] * 4
    assert states(plan_merge(tmp_path, Knobs(beta=0.3))) == ["reuse", "reuse", "build", "build"]
    assert states(plan_merge(tmp_path, Knobs(beta=0.2), refresh=frozenset({"clean[b]"})))[2:] == ["build", "build"]
    lineage = [shown for _, shown, _ in ArtifactStore(tmp_path).lineage(merged.address)]
    assert f"parts.b: {b.address}" in lineage


def test_one_blocked_artifact_of_several_blocks_what_takes_them(tmp_path: Path):
    blocked = plan_merge(tmp_path, Knobs(place="unreachable"))
    assert states(blocked) == ["build", "build", "blocked", "blocked"]


def test_a_mapping_of_something_else_cannot_be_part_of_a_key(tmp_path: Path):
    with (
        session(Session(store=ArtifactStore(tmp_path), planning=True)),
        pytest.raises(TypeError, match="parts is a dict"),
    ):
        merge(parts={"a": 1}, config=Knobs())  # type: ignore[dict-item]


def test_a_variant_names_the_stages_called_in_it_and_changes_no_key(tmp_path: Path):
    planned = Session(store=ArtifactStore(tmp_path), planning=True)
    with session(planned):
        plain = fetch(config=Knobs())
        with variant("raw"):
            named = fetch(config=Knobs())
            clean["own"](warcs=named, config=Knobs())
        fetch(config=Knobs())
    assert [step.label for step in planned.steps] == ["fetch", "fetch[raw]", "clean[own]", "fetch"]
    assert plain.address == named.address


@pytest.mark.parametrize("refresh", [frozenset(), frozenset({"fetch"})])
def test_what_two_variants_share_is_planned_once(tmp_path: Path, refresh: frozenset[str]):
    planned = Session(store=ArtifactStore(tmp_path), planning=True, refresh=refresh)
    with session(planned):
        for name in ("raw", "clean"):
            with variant(name):
                clean(warcs=fetch(config=Knobs()), config=Knobs(beta=len(name)))
    assert states(planned) == ["build", "build", "reuse", "build"]
    assert planned.steps[2].because == ["the same as fetch[raw]"]


def test_an_input_that_came_later_is_in_the_key_only_where_it_is_given(tmp_path: Path):
    with session(Session(store=ArtifactStore(tmp_path), planning=True)) as here:
        adapt(over=None, config=Knobs())
        without = adapt(over=None, config=Knobs(), base=None)
        base = Checkpoint("checkpoint/learn-0123456789ab", tmp_path)
        assert adapt(over=None, config=Knobs(), base=base).address != without.address
    keys = [step.recipe.inputs for step in here.steps if step.recipe]
    assert keys == [{"over": None}, {"over": None}, {"over": None, "base": base.address}]
