import json
from pathlib import Path

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
