import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import app
from gristmill.errors import ConfigError
from gristmill.promotion.journal import Journal

RULE = {"passed": True, "says": "docs_choice_accuracy_minus_champion is +0.0400"}


def run(*words: str) -> int:
    return app(["promote", *words], result_action="return_value")


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("GRISTMILL_STORE", raising=False)
    made = Journal(tmp_path, "gristmill")
    judged = {"version": "2", "checkpoint": "checkpoint/align-2", "over": "checkpoint/align-1", "approval": "required"}
    made.append("judged", **judged, passed=True, rules=[RULE])
    moved = {"why": "promote", "version": "2", "by": "Ada", "before": {"champion": "1"}, "after": {"champion": "2"}}
    begin = made.append("begin", **moved)
    made.append("done", move=begin["id"])
    return made


def test_the_history_says_who_decided_what_on_which_numbers(journal: Journal, capsys):
    assert run("--history") == 0
    judged, rule, begin, done = capsys.readouterr().out.splitlines()
    assert judged.endswith(
        "version 2 (checkpoint/align-2, over checkpoint/align-1) passed the gate, and needs approval"
    )
    assert rule == f"    ✓ {RULE['says']}"
    assert begin.endswith("promote by Ada: champion from version 1 to version 2")
    assert done.endswith("done: promote of version 2")


def test_the_history_as_json_is_the_journal(journal: Journal, capsys):
    assert run("--history", "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == journal.read()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give one of"),
        (("--history", "--repair"), "give one of"),
        (("--rollback",), "add --by NAME"),
        (("--approve", "2", "--by", " "), "add --by NAME"),
    ],
)
def test_what_is_left_out_or_too_much_is_said(journal: Journal, words: tuple[str, ...], says: str):
    with pytest.raises(ConfigError, match=says):
        run(*words)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a Prefect server would be told."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    events: list[dict[str, Any]] = []
    monkeypatch.setattr("prefect.events.emit_event", lambda **event: events.append(event))
    monkeypatch.setattr("flows.cli.patience.deliver_events_later", lambda: None)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield events


def test_every_move_by_hand_is_told_as_the_gate_s_are(journal: Journal, told: list[dict[str, Any]], monkeypatch):
    from tasks import registry

    class Registry:
        moved: dict[str, str] = {"champion": "1"}

        def aliases(self, model: str) -> dict[str, str]:
            return dict(self.moved)

        def tags(self, model: str, version: str) -> dict[str, str]:
            return {"gristmill.artifact": f"checkpoint/align-{version}"}

        def point(self, model: str, alias: str, version: str | None) -> None:
            assert version
            self.moved[alias] = version

        def tag(self, model: str, version: str, key: str, value: str) -> None:
            pass

    monkeypatch.setattr(registry, "Registry", Registry)
    assert run("--approve", "2", "--by", "Ada") == 0
    assert run("--rollback", "--by", "Grace") == 0
    cut_off = {"first": [], "last": [], "why": "promote", "version": "2", "by": "Ada"}
    journal.append("begin", **cut_off, before={"champion": "1", "previous": "2"}, after={"champion": "2"})
    assert run("--repair") == 0
    assert run("--repair") == 0, "there is nothing left to repair, or to tell of"
    assert {event["event"] for event in told} == {"gristmill.champion.moved"}
    assert {event["resource"]["prefect.resource.name"] for event in told} == {"gristmill"}
    assert [event["payload"] for event in told] == [
        {"version": "2", "by": "Ada"},
        {"version": "1", "by": "Grace"},
        {"version": "1"},
    ]


def test_a_rollback_is_done_at_the_registry_and_recorded(journal: Journal, capsys, monkeypatch: pytest.MonkeyPatch):
    from tasks import registry

    class Registry:
        moved: dict[str, str] = {"champion": "2", "previous": "1"}

        def aliases(self, model: str) -> dict[str, str]:
            return dict(self.moved)

        def tags(self, model: str, version: str) -> dict[str, str]:
            return {}

        def point(self, model: str, alias: str, version: str | None) -> None:
            assert version
            self.moved[alias] = version

        def tag(self, model: str, version: str, key: str, value: str) -> None:
            assert (version, key, value) == ("2", "gristmill.rolled_back", "by Grace")

    monkeypatch.setattr(registry, "Registry", Registry)
    assert run("--rollback", "--by", "Grace") == 0
    assert capsys.readouterr().out == "version 1 is champion of gristmill again\n"
    assert Registry.moved == {"champion": "1", "previous": "2"}
    assert journal.read()[-2]["by"] == "Grace"
    assert run("--repair") == 0
    assert "no move" in capsys.readouterr().out
