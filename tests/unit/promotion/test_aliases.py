import pytest

from gristmill.promotion.aliases import approve, promote, roll_back, settle, unfinished


def version(number: int) -> dict[str, str]:
    return {"model": "gristmill", "version": str(number), "checkpoint": f"checkpoint/align-{number}"}


def test_a_promotion_moves_champion_and_makes_the_old_one_previous(client, registry, journal):
    assert promote(registry, journal, version(2), over="checkpoint/align-1") == "promoted"
    assert client.aliases == {"champion": "2", "previous": "1"}
    assert client.versions["2"]["gristmill.promoted_over"] == "checkpoint/align-1"
    assert [entry["event"] for entry in journal.read()] == ["begin", "done"]
    # asking again, as a rebuilt stage does, changes nothing
    assert promote(registry, journal, version(2), over="checkpoint/align-1") == "promoted"
    assert client.aliases == {"champion": "2", "previous": "1"}


def test_the_first_champion_has_no_previous(client, registry, journal):
    client.aliases = {"challenger": "1"}
    promote(registry, journal, version(1), over=None)
    assert client.aliases == {"challenger": "1", "champion": "1"}
    with pytest.raises(ValueError, match="no earlier champion"):
        roll_back(registry, journal, by="Ada")


def test_a_champion_that_moved_since_the_verdict_stops_the_promotion(client, registry, journal):
    with pytest.raises(RuntimeError, match="moved from checkpoint/align-3 to checkpoint/align-1"):
        promote(registry, journal, version(2), over="checkpoint/align-3")
    assert client.aliases == {"champion": "1"}


def test_a_champion_that_gristmill_did_not_register_is_neither_compared_with_nor_replaced(client, registry, journal):
    client.versions["7"] = {}
    client.aliases = {"champion": "7"}
    with pytest.raises(RuntimeError, match=r"version 7, which has no tag gristmill\.artifact"):
        promote(registry, journal, version(2), over=None)
    with pytest.raises(RuntimeError, match="version 7"):
        promote(registry, journal, version(2), over="checkpoint/align-1")
    assert client.aliases == {"champion": "7"}
    assert journal.read() == []


def test_a_rollback_swaps_and_the_gate_alone_does_not_bring_it_back(client, registry, journal):
    promote(registry, journal, version(2), over="checkpoint/align-1")
    assert roll_back(registry, journal, by="Ada") == "1"
    assert client.aliases == {"champion": "1", "previous": "2"}
    assert promote(registry, journal, version(2), over="checkpoint/align-1") == "rolled back"
    assert client.aliases == {"champion": "1", "previous": "2"}
    assert roll_back(registry, journal, by="Grace") == "2"
    assert client.aliases == {"champion": "2", "previous": "1"}
    assert client.versions["2"]["gristmill.rolled_back"] == ""
    assert [e["by"] for e in journal.read() if e["event"] == "begin"] == [None, "Ada", "Grace"]


def test_who_approves_is_recorded_and_only_what_passed_can_be_approved(client, registry, journal):
    judged = {**version(2), "over": "checkpoint/align-1", "approval": "required"}
    with pytest.raises(ValueError, match="no gate has judged version 2"):
        approve(registry, journal, "2", by="Ada")
    journal.append("judged", **judged, passed=False, rules=[{"passed": False, "says": "too slow"}])
    with pytest.raises(ValueError, match="did not pass the gate: too slow"):
        approve(registry, journal, "2", by="Ada")
    assert client.aliases == {"champion": "1"}
    journal.append("judged", **judged, passed=True, rules=[])
    approve(registry, journal, "2", by="Ada")
    assert client.aliases == {"champion": "2", "previous": "1"}
    assert client.versions["2"]["gristmill.approved_by"] == "Ada"
    assert [e["by"] for e in journal.read() if e["event"] == "begin"] == ["Ada"]


def test_a_version_judged_against_another_champion_cannot_be_approved(client, registry, journal):
    journal.append("judged", **version(2), over="checkpoint/align-1", approval="required", passed=True, rules=[])
    promote(registry, journal, version(3), over="checkpoint/align-1")
    with pytest.raises(RuntimeError, match="after this model was judged"):
        approve(registry, journal, "2", by="Ada")
    assert client.aliases["champion"] == "3"


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("previous", [None, "3"])
@pytest.mark.parametrize("fail_at", range(1, 12))
def test_a_registry_that_fails_at_any_call_leaves_aliases_that_are_finished_or_undone(
    client, registry, journal, fail_at: int, previous: str | None, done: bool
):
    before = {"champion": "1"} | ({"previous": previous} if previous else {})
    after = {"champion": "2", "previous": "1"}
    client.aliases, client.fail_at, client.done = dict(before), fail_at, done
    try:
        promote(registry, journal, version(2), over="checkpoint/align-1")
    except (RuntimeError, ConnectionError):
        assert client.aliases["champion"] in ("1", "2")
    else:
        assert client.calls < fail_at
        return
    settle(registry, journal)
    assert client.aliases in (before, after)
    assert unfinished(journal.read()) == []
    assert promote(registry, journal, version(2), over="checkpoint/align-1") == "promoted"
    assert client.aliases == after
    assert client.versions["2"]["gristmill.promoted_over"] == "checkpoint/align-1"


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("fail_at", range(1, 12))
def test_the_same_of_a_rollback(client, registry, journal, fail_at: int, done: bool):
    client.aliases, client.fail_at, client.done = {"champion": "2", "previous": "1"}, fail_at, done
    try:
        roll_back(registry, journal, by="Ada")
    except (RuntimeError, ConnectionError):
        settle(registry, journal)
        assert client.aliases in ({"champion": "2", "previous": "1"}, {"champion": "1", "previous": "2"})
        assert unfinished(journal.read()) == []
    else:
        assert client.calls < fail_at
    rolled_back = client.aliases["champion"] == "1"
    assert bool(client.versions["2"].get("gristmill.rolled_back")) == rolled_back


def test_repair_that_fails_too_can_be_repeated(client, registry, journal):
    client.aliases["previous"], client.fail_at, client.done = "3", 6, False
    with pytest.raises(RuntimeError, match="promote --repair"):
        promote(registry, journal, version(2), over="checkpoint/align-1")
    assert len(unfinished(journal.read())) == 1
    client.calls, client.fail_at = 0, 1
    with pytest.raises(RuntimeError, match="promote --repair"):
        settle(registry, journal)
    assert len(unfinished(journal.read())) == 1
    settle(registry, journal)
    assert client.aliases == {"champion": "1", "previous": "3"}
    assert settle(registry, journal) == []


def test_a_champion_that_somebody_else_moved_meanwhile_is_left_alone(client, registry, journal):
    client.fail_at = 6
    with pytest.raises(RuntimeError):
        promote(registry, journal, version(2), over="checkpoint/align-1")
    client.aliases["champion"] = "3"
    (said,) = settle(registry, journal)
    assert said.endswith("is left alone")
    assert client.aliases["champion"] == "3"
