import io
import json
import time

import pytest

from gristmill.progress import Moment, progress, relay, watched


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_lines_estimate_the_end_by_what_this_process_did(clock, capsys):
    with progress("train", total=1000, unit="tokens", done=400) as bar:
        clock[0] += 100
        bar.advance(200)
        clock[0] += 1000
        bar.advance(20, note="step 9")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "train: 600 of 1,000 (60%) tokens, 100 s, 200 s left"  # 2 tokens a second, 400 to go
    assert lines[2] == "train: 620 of 1,000 (62%) tokens, 1100 s, 32 min left, step 9"  # 380 of 220 in 1,100 s


def test_what_was_there_before_reaches_the_process_that_shows_it(clock, capsys, monkeypatch):
    monkeypatch.setenv("GRISTMILL_PROGRESS", "json")
    with progress("train", total=1000, unit="tokens", done=400) as bar:
        clock[0] += 100
        bar.advance(200)
    sent = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["done"] for line in sent] == [400, 600]
    monkeypatch.delenv("GRISTMILL_PROGRESS")

    def lines():
        yield sent[0] + "\n"
        clock[0] += 50
        yield sent[1] + "\n"

    log = io.StringIO()
    assert relay(lines(), log) == []
    assert capsys.readouterr().err.splitlines()[1] == "train: 600 of 1,000 (60%) tokens, 50 s, 100 s left"


def test_who_watches_sees_every_step_and_the_output_stays_the_same(capsys: pytest.CaptureFixture[str]):
    def work() -> str:
        with progress("dedup", total=10, unit="pages", done=2) as bar:
            bar.advance(3, note="part-1")
            bar.advance(5)
        return capsys.readouterr().err

    alone = work()
    seen: list[Moment] = []
    with watched(seen.append):
        assert work() == alone
    assert seen == [Moment("dedup", 5, 10, "pages", "part-1"), Moment("dedup", 10, 10, "pages", "")]
    work()
    assert len(seen) == 2
