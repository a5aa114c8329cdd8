"""What the stage `promote` does beside deciding: it asks the registry whether a hit still holds, and tells Prefect."""

import json
from pathlib import Path
from typing import Any

import pytest

from gristmill.artifacts import Evaluation, Registration
from gristmill.promotion.config import PromoteConfig
from gristmill.store import ArtifactStore
from tasks import registry
from tasks.promote import promote
from tasks.stage import Session, session

MADE = {"model": "gristmill", "version": "2", "checkpoint": "checkpoint/align-2", "over": None, "rules": []}


@pytest.mark.parametrize(
    ("state", "champion", "fault"),
    [
        ("promoted", "2", None),
        ("promoted", "1", "champion of gristmill points to version 1"),
        ("promoted", None, "points to nothing"),
        ("failed", "1", None),
        ("awaiting approval", "1", None),
        ("awaiting approval", "2", "was approved since"),
        ("rolled back", "1", None),
        ("rolled back", "2", "was approved since"),
    ],
)
def test_a_hit_holds_only_while_the_alias_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, champion: str | None, fault: str | None
):
    found = {"version": champion} if champion else None
    monkeypatch.setattr(registry, "version_by_alias", lambda model, alias: found)
    made = MADE | {"state": state, "promoted": state == "promoted"}
    (tmp_path / "promotion.json").write_text(json.dumps(made))
    assert promote.check
    said = promote.check(None, tmp_path)  # type: ignore[arg-type]
    assert said is None if fault is None else fault in (said or "")


@pytest.mark.parametrize("promoted", [True, False])
def test_prefect_is_told_when_champion_moved_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promoted: bool
):
    told: list[dict[str, Any]] = []
    made = MADE | {"state": "promoted" if promoted else "failed", "promoted": promoted}
    monkeypatch.setattr("prefect.events.emit_event", lambda **event: told.append(event))
    monkeypatch.setattr("gristmill.promotion.decide.decide", lambda *arguments, **more: made)
    monkeypatch.setattr(registry, "Registry", object)
    (tmp_path / "registration.json").write_text(json.dumps({}))
    registration, evaluation = Registration("registration/r-0", tmp_path), Evaluation("evaluation/e-0", tmp_path)
    with session(Session(store=ArtifactStore(tmp_path), planning=False)):
        promote.function(tmp_path, registration, evaluation, None, None, PromoteConfig())
    assert [event["payload"]["version"] for event in told] == ["2"] * promoted
    assert json.loads((tmp_path / "promotion.json").read_text()) == made
