"""The page of a run: whatever was recorded is shown and does nothing, and a long history stays small and quick."""

import base64
import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import html
from small_run import SmallRun, make_run

from gristmill.report import Report
from gristmill.run_report.facts import RunFacts, gather
from gristmill.run_report.page import render, write_page
from gristmill.run_report.summary import funnel_rows, score_rows, verdict_text

HOSTILE = "</dd><script>document.title='owned'</script><img src=x onerror=alert(1)>\u202e\x1b[31m"
SHOWN = HOSTILE.replace("\u202e", "[U+202E]").replace("\x1b", "[U+001B]")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> RunFacts:
    made = make_run(tmp_path_factory.mktemp("store"), rule=HOSTILE, answer=HOSTILE)
    stopped = {"stage": HOSTILE, "key": "checkpoint/align-0"}
    return gather(made.store, made.run(error=HOSTILE, stopped=stopped), [])


@pytest.fixture(scope="module")
def page(facts: RunFacts) -> html.HtmlElement:
    return html.document_fromstring(render(facts))


def test_nothing_that_was_recorded_becomes_an_element_or_an_attribute(page: html.HtmlElement):
    assert page.xpath("//script | //img | //iframe | //object | //embed | //link | //form | //base") == []
    assert page.xpath("//@*[starts-with(name(), 'on')]") == []
    assert page.xpath("//@style") == []
    assert all(href.startswith("#") for href in page.xpath("//@href"))


def test_hostile_text_is_shown_letter_by_letter(page: html.HtmlElement):
    assert SHOWN in [code.text for code in page.xpath("//section[h2[@id='data']]//code")]
    assert SHOWN in [answer.text for answer in page.xpath("//dl[@class='answers']//dd")]
    assert page.xpath("//header/p")[-1].text_content() == SHOWN


def test_the_policy_of_a_run_s_report_allows_its_style_and_nothing_else(page: html.HtmlElement):
    (style,) = page.xpath("//style")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_failed_run_opens_with_its_cause_and_a_good_one_with_its_verdict(page: html.HtmlElement, tmp_path: Path):
    assert page.xpath("//main/section/h2/@id")[0] == "failure"
    made = make_run(tmp_path)
    good = html.document_fromstring(render(gather(made.store, made.run(), [])))
    assert good.xpath("//h1")[0].text == "Promoted: miller version 7 is champion"
    tiles = [tile.text_content() for tile in good.xpath("//main/dl[@class='facts']/div")]
    assert "1 of 1 rules pass" in tiles[0]
    assert "against the champion, same 4 items+0.2500 [-0.5000, +0.7500]" in tiles[1]
    assert "11 min 40 s" in tiles[2]
    assert tiles[3:] == ["spent here1.8 CHF", "saved by the cache0 CHF"]  # nine stages of 100 s at 7.20 an hour


def test_reused_stages_are_saved_and_not_spent_and_a_shared_one_once(tmp_path: Path):
    made = make_run(tmp_path)
    made.stages[0]["state"] = "reused"
    made.stages.append(made.stages[0] | {"stage": "ingest[again]"})
    page = html.document_fromstring(render(gather(made.store, made.run(), [])))
    tiles = [tile.text_content() for tile in page.xpath("//main/dl[@class='facts']/div")]
    assert tiles[3:] == ["spent here1.6 CHF", "saved by the cache0.2 CHF"]
    sums = [[cell.text_content() for cell in row] for row in page.xpath("//tfoot/tr")]
    assert sums == [
        ["spent here", "", "13 min 20 s", "", "", "1,200", "–", "1.6"],
        ["saved by the cache", "", "", "1 min 40 s", "", "150", "–", "0.2"],
    ]


def test_every_section_is_in_the_navigation_and_every_drawing_is_described(page: html.HtmlElement):
    assert [href[1:] for href in page.xpath("//nav//@href")] == page.xpath("//section/h2/@id")
    assert page.xpath("//figure/svg[not(@aria-label)] | //table//th[not(@scope)]") == []


def test_the_data_report_is_linked_where_it_lies_beside(facts: RunFacts, tmp_path: Path):
    path = tmp_path / "night.html"
    write_page(facts, path)
    assert ".data.html" not in path.read_text()
    (tmp_path / f"{facts.run['run']}.data.html").touch()
    write_page(facts, path)
    assert f'href="{facts.run["run"]}.data.html"' in path.read_text()


def test_a_long_history_and_long_texts_make_a_small_page_in_a_short_time(tmp_path: Path):
    made = SmallRun(tmp_path)
    previous = made.publish("documents", "known", {})
    for night in range(400):
        previous = made.publish("documents", f"known[{night}]", {"earlier": previous})
    made.stages.clear()
    rows = [
        json.dumps({"step": step, "train_bits_per_byte": 2.0, **dict.fromkeys("abcdefgh", 0.123456)})
        for step in range(100_000)
    ]
    wordy = Report(rows_in=1, rows_out=1, dropped={f"{number} {HOSTILE * 20}": 1 for number in range(3000)})
    base = made.publish(
        *("checkpoint", "pretrain", {"documents": previous}),
        report=wordy,
        files={"metrics.jsonl": "\n".join(rows) + "\n"},
        config={"pretrain": {str(number): HOSTILE * 10 for number in range(2000)}},
    )
    scores = Report(rows_in=1, rows_out=1, metrics={f"m{number}_accuracy": 0.5 for number in range(5000)})
    samples = "".join(
        json.dumps({"prompt": f"{n}{HOSTILE * 100}", "answer": HOSTILE * 1000}) + "\n" for n in range(500)
    )
    made.publish("evaluation", "evaluate[pretrain]", {"model": base}, report=scores, files={"samples.jsonl": samples})
    began = time.process_time()
    text = render(gather(made.store, made.run(), []))
    assert time.process_time() - began < 5
    assert len(text.encode()) < 5e6
    assert "2,988 more rules" in text
    assert "4,700 more scores" in text
    assert HOSTILE not in text


def test_prefect_gets_rows_in_which_nothing_is_markup(facts: RunFacts):
    (extract,) = [row for row in funnel_rows(facts) if row["stage"] == "extract"]
    assert (extract["in"], extract["out"], extract["unit"]) == ("10", "8", "pages")
    assert "<script>" not in extract["dropped"]
    (accuracy,) = [row for row in score_rows(facts) if row["score"] == "q_accuracy"]
    assert accuracy["align"].replace("\\", "") == "0.7500 [0.1000, 0.9000]"
    assert "<script>" not in verdict_text(facts)


def test_a_score_that_is_nowhere_finite_is_named(facts: RunFacts):
    assert facts.scores.rows
    lost = replace(facts.scores.rows[0], cells=["not finite", None])
    text = render(replace(facts, scores=replace(facts.scores, rows=[lost])))
    assert "not finite" in text
