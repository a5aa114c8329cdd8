"""A person at the keyboard of a real browser, a server that is killed in between, and a model that learns of it all."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_review import candidate
from tiny_chat_model import write_examples, write_tiny_model

from gristmill.align.config import DpoConfig
from gristmill.align.dpo import run_dpo
from gristmill.review.agreement import review_report
from gristmill.review.config import PreferencesConfig
from gristmill.review.folder import LOG, QUEUE, read_review
from gristmill.review.preferences import run_preferences
from gristmill.review.queue import Candidate, ChatMessage, ShownAnswer, make_queue, write_queue
from gristmill.schema import Resources

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202eEvil"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must ask for nothing beyond its server, raise nothing, and break no rule of its policy."""
    opened, faults = browser.new_page(viewport={"width": 1280, "height": 900}), []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    opened.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else faults.append(asked.url))
    yield opened
    opened.close()
    # a browser reports each answer of status 4xx and each lost connection there
    assert [fault for fault in faults if "Failed to load resource" not in fault] == []


@pytest.fixture
def serve() -> Iterator[Callable[[Path], tuple[subprocess.Popen[str], str]]]:
    """Start `gristmill review FOLDER`; gives the process and the address that it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "flows.cli.main", "review", str(folder), "--reviewer", "anna"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait(10)


def test_twenty_judgements_by_keyboard_survive_a_killed_server_and_teach_a_model(
    tmp_path: Path, page: Any, serve: Callable[[Path], tuple[subprocess.Popen[str], str]]
):
    folder = tmp_path / "review"
    _write_review(folder, prompts=20)
    items = read_review(folder).items
    process, address = serve(folder)
    page.goto(address)
    expected: list[tuple[str, str]] = []
    for number in range(20):
        if number == 9:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            page.keyboard.press("t")  # into the void: the page says so, and the judgement is not counted
            page.locator("#problem").filter(has_text="Not saved").wait_for()
            assert len(read_review(folder).judged.standing) == 9
            process, address = serve(folder)
            page.goto(address)
        expected.append(_judge(page, number, items))
    page.get_by_role("heading", name="All judged").wait_for()
    os.kill(process.pid, signal.SIGKILL)

    review = read_review(folder)
    assert [(each.item, each.verdict) for each in review.judged.standing] == expected
    assert len(expected) == 20
    assert (review.judged.torn, review.judged.undone) == ([], 1)
    remarks = [each.remark for each in review.judged.standing if each.remark]
    assert remarks == ["1 + 1, left and right"]
    assert review_report(review)["reviewers"]["anna"]["caught"]["share"] == 1.0
    _learns(folder, tmp_path)


def test_hostile_text_stays_text_and_the_page_fits_a_phone(
    tmp_path: Path, page: Any, serve: Callable[[Path], tuple[subprocess.Popen[str], str]]
):
    folder = tmp_path / "review"
    folder.mkdir()
    answers = [ShownAnswer(model="a", text=HOSTILE), ShownAnswer(model="b", text="x" * 3000)]
    items, _ = make_queue([Candidate([ChatMessage(role="user", content=HOSTILE)], answers)], seed=0, planted=0)
    write_queue(folder / QUEUE, items)
    (folder / "assignment.txt").write_text(HOSTILE)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(serve(folder)[1])
    page.locator("#left").filter(has_text="x").wait_for()
    assert page.locator("#prompt").inner_text() == HOSTILE
    assert page.locator("img, script:not([src])").count() == 0
    assert page.title() == "Which answer is better?"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    boxes = [button.bounding_box() for button in page.locator("button").all()]
    assert all(box and box["height"] >= 44 for box in boxes)


def test_tab_reaches_every_control_with_a_visible_focus_and_enter_presses_it(
    tmp_path: Path, page: Any, serve: Callable[[Path], tuple[subprocess.Popen[str], str]]
):
    folder = tmp_path / "review"
    _write_review(folder, prompts=3)
    page.goto(serve(folder)[1])
    page.locator("#left").filter(has_text="1").wait_for()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        name, width = page.evaluate(
            "(e => [e.dataset.verdict || e.id, getComputedStyle(e).outlineWidth])(document.activeElement)"
        )
        assert width == "3px", name
        reached.append(name)
        if name == "written" and "skip" in reached:
            break
    assert reached[:7] == ["left", "right", "tie", "both_bad", "skip", "remark", "written"]
    for _ in range(4):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.locator("#status").filter(has_text="Saved: tie.").wait_for()
    page.locator("#undo").focus()
    page.keyboard.press("Enter")
    page.locator("#status").filter(has_text="Undone").wait_for()
    assert read_review(folder).judged.standing == []


def _write_review(folder: Path, *, prompts: int) -> None:
    folder.mkdir()
    items, _ = make_queue([candidate(number) for number in range(10, 10 + prompts)], seed=0, planted=0.1)
    write_queue(folder / QUEUE, items)


def _judge(page: Any, number: int, items: dict[str, Any]) -> tuple[str, str]:
    """Judge the item on the screen by keys alone, as an attentive person would; gives (item, verdict)."""
    progress = page.locator("#progress")
    progress.filter(has_text=f"{number} of 20").wait_for()
    shown = [page.locator(place).inner_text() for place in ("#prompt", "#left", "#right")]
    (item,) = [each for each in items.values() if each.prompt[0].content == shown[0]]
    better = "left" if shown[1] == item.answers[0].text else "right"
    assert {shown[1], shown[2]} == {answer.text for answer in item.answers}
    if item.planted is None and number in (2, 3, 4, 5):
        verdict, keys = {
            2: ("tie", ["t"]),
            3: ("both_bad", ["b"]),
            4: ("skip", ["s"]),
            5: ("written", ["w", *"12 or b", "Control+Enter"]),
        }[number]
    else:
        verdict = better
        keys = {"left": ["1", "ArrowLeft"], "right": ["2", "ArrowRight"]}[better][number % 2 : number % 2 + 1]
    if number == 7:  # the wrong one first, then undone
        page.keyboard.press("t")
        progress.filter(has_text="8 of 20").wait_for()
        page.keyboard.press("u")
        progress.filter(has_text="7 of 20").wait_for()
        assert page.locator("#prompt").inner_text() == shown[0]
    if number == 8:
        for key in ("r", *"1 + 1, left and right", "Escape"):
            page.keyboard.press(key)
    for key in keys:
        page.keyboard.press(key)
    if number < 19:
        progress.filter(has_text=f"{number + 1} of 20").wait_for()
    return item.id, verdict


def _learns(folder: Path, tmp_path: Path) -> None:
    """A DPO run on those judgements prefers what the person preferred, on held-out prompts too."""
    people, out = tmp_path / "people", tmp_path / "aligned"
    people.mkdir()
    out.mkdir()
    made = run_preferences(
        write_examples(tmp_path / "examples"), people, PreferencesConfig(reviews=[folder], held_out=0.2)
    )
    assert made.dropped == {"both_bad": 1, "planted": 2, "skip": 1, "tie": 1}
    assert (made.rows_out, made.metrics["written_answers"]) == (14 + 2, 1)
    config = DpoConfig(epochs=6, batch_rows=4, micro_rows=4, lr=1e-3, answered_prompts=0)
    resources = Resources(threads=1, device="cpu")
    report = run_dpo(write_tiny_model(tmp_path / "model"), people, None, out, config, resources)
    assert report.rows_out + report.details["held_out_pairs"] == 16
    assert report.metrics["held_out_reward_accuracy"] == 1.0
    assert report.metrics["chosen_logp_change"] > report.metrics["rejected_logp_change"]
    assert (out / "model.safetensors").is_file()
    lines = (folder / LOG).read_text().splitlines()
    assert len(lines) == 22  # twenty, one more that was undone, and the undoing
    assert all(json.loads(line)["reviewer"] == "anna" for line in lines)
