"""A run whose Prefect server has gone away waits for it once, and not for ever."""

import time
from collections.abc import Iterator

import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import get_current_settings

from flows.cli import patience
from flows.cli.servers import ServerUnavailable


@pytest.fixture(autouse=True)
def settings_of_this_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(get_current_settings().client, "max_retries", 5)
    yield
    EventsWorker.set_client_override(None)


def answers(monkeypatch: pytest.MonkeyPatch, *answered: bool) -> list[str]:
    """The server's answers one after another, the last of them for ever. Returns the names of events sent."""
    coming, sent = list(answered), []

    def ask(server: object) -> None:
        if not (coming.pop(0) if len(coming) > 1 else coming[0]):
            raise ServerUnavailable("does not answer")

    monkeypatch.setattr(patience, "check_named", ask)
    monkeypatch.setattr("prefect.events.emit_event", lambda event, **more: sent.append(event))
    return sent


def test_a_server_that_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    sent = answers(monkeypatch, True)
    patience.wait_for_prefect()
    assert (sent, capsys.readouterr().err) == ([], "")
    assert get_current_settings().client.max_retries == 5


def test_a_server_that_comes_back_is_told_what_it_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    sent = answers(monkeypatch, False, False, True)
    patience.wait_for_prefect(10)
    assert sent == ["gristmill.prefect.back"]
    assert "waiting 10 s" in capsys.readouterr().err
    assert get_current_settings().client.max_retries == 5


def test_after_a_while_each_call_is_tried_once(monkeypatch: pytest.MonkeyPatch):
    sent = answers(monkeypatch, False)
    started = time.monotonic()
    patience.wait_for_prefect(0.5)
    assert time.monotonic() - started < 5
    assert sent == []
    assert get_current_settings().client.max_retries == 0


def test_an_event_that_finds_no_server_does_not_sleep(monkeypatch: pytest.MonkeyPatch):
    patience.deliver_events_later()
    assert EventsWorker._client_override
    assert dict(EventsWorker._client_override[1]) == {"reconnection_attempts": 3}  # Prefect sleeps from its fourth on


def test_prefect_cloud_keeps_its_own_client(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("prefect.events.worker.emit_events_to_cloud", lambda: True)
    patience.deliver_events_later()
    assert EventsWorker._client_override is None
