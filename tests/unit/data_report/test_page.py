"""A report of hostile pages stays a report: nothing of a crawl becomes markup, a link or a script."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from audited_store import HOSTILE_TEXT, HOSTILE_URL, make_store
from lxml import html
from markdown_it import MarkdownIt

from gristmill.data_report.facts import Facts, gather
from gristmill.data_report.histograms import Histogram, Line
from gristmill.data_report.page import draw, render, write_page
from gristmill.data_report.summary import markdown, plain
from gristmill.html.shown import percent, visible
from gristmill.scope import scope_of_run


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    store = make_store(tmp_path_factory.mktemp("store"))
    return gather(scope_of_run(store, "run <b>of</b> mine", [record.address for record in store.records()]))


@pytest.fixture(scope="module")
def page(facts: Facts) -> html.HtmlElement:
    return html.document_fromstring(render(facts))


def test_nothing_of_a_hostile_page_becomes_an_element_or_an_attribute(page: html.HtmlElement):
    assert page.xpath("//script | //img | //iframe | //object | //embed | //link | //form | //base") == []
    assert page.xpath("//b") == []
    assert page.xpath("//@*[starts-with(name(), 'on')]") == []
    assert page.xpath("//@style") == []
    assert all(href.startswith("#") for href in page.xpath("//@href"))


def test_a_hostile_url_and_text_are_shown_letter_by_letter(page: html.HtmlElement):
    assert HOSTILE_URL in [code.text for code in page.xpath("//code")]
    shown = HOSTILE_TEXT.replace("\u202e", "[U+202E]").replace("\x1b", "[U+001B]")
    assert shown in [text.text for text in page.xpath("//pre")]


def test_the_policy_allows_the_style_in_the_file_and_nothing_else(page: html.HtmlElement):
    (style,) = page.xpath("//style")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_every_number_of_the_funnel_is_in_a_table_and_every_chart_has_a_description(page: html.HtmlElement):
    cells = [cell.text_content() for cell in page.xpath("//section[h2[@id='funnel']]//tr[th='dedup']/td")]
    assert cells[:3] == ["6", "4", "50.0 %"]
    assert all(page.xpath("//figure/svg/@aria-label"))
    assert page.xpath("//figure/svg[not(@aria-label)] | //table//th[not(@scope)]") == []


def test_a_mixture_has_a_table_of_what_is_asked_for_and_what_is_seen(facts: Facts, page: html.HtmlElement):
    assert page.xpath("//h2[@id='mixture']") == []
    shares = {"share_seen": 0.0002, "share_asked": 0.25, "epochs_mean": 2.5, "epochs_max": 3}
    counts = {"documents": 4, "documents_seen": 10, "estimated_tokens": 1200, "estimated_tokens_seen": 3000}
    bucket = {"bucket": None, **counts, **shares}
    del bucket["share_asked"]
    mix = {"ended": "mix.max_tokens=3000", "sources": [{"source": "<b>web", **counts, **shares}], "buckets": [bucket]}
    mixed = replace(facts, details={"mix": mix})
    table = html.document_fromstring(render(mixed)).xpath("//section[h2[@id='mixture']]//tbody/tr")
    cells = [[cell.text_content().strip() for cell in row] for row in table]
    numbers = ["4", "10", "2.5", "3", "1,200", "3,000"]
    assert cells == [
        ["source <b>web", *numbers, "25.0 %", "< 0.1 %", ""],
        ["bucket not measured", *numbers, "–", "< 0.1 %", ""],
    ]
    assert "| source \\<b\\>web | 4 | 2.5 | 3,000 | 25.0 % | \\< 0.1 % |" in markdown(mixed)


def test_sections_are_reached_from_the_navigation(page: html.HtmlElement):
    assert {href[1:] for href in page.xpath("//nav//@href")} <= set(page.xpath("//h2/@id"))


def test_a_written_report_is_the_same_every_time(facts: Facts, tmp_path: Path):
    write_page(facts, tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text() == render(facts)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_kept_bars_stand_on_the_axis_and_dropped_ones_hang_from_it():
    drawn = draw(Histogram("words", [0.0, 1.0, 2.0], [4, 0], [1, 0], [Line("min_words", 1.0), Line("max_words", 9.0)]))
    kept, dropped = drawn["bars"]
    assert (kept["y"], kept["height"]) == (0.0, 44.0)  # the peak
    assert (dropped["y"], dropped["height"]) == (44.0, 22.0)  # a quarter of it, as a square root
    assert drawn["lines"] == [{"x": 200.0, "label": "at least 1"}]
    assert drawn["far"] == ["at most 9"]


def test_a_share_that_is_not_nothing_does_not_look_like_nothing():
    assert [percent(share) for share in (0, 1e-6, 0.0123, 0.99999, 1)] == [
        "0.0 %",
        "< 0.1 %",
        "1.2 %",
        "> 99.9 %",
        "100.0 %",
    ]


def test_characters_that_nobody_sees_are_shown_by_their_code():
    assert visible("a\u202eb\x00\u200b\ud800") == "a[U+202E]b[U+0000][U+200B][U+D800]"
    assert visible("a\nb\r", lines=True) == "a\nb[U+000D]"


def test_markdown_of_a_hostile_page_is_its_text_and_nothing_else(facts: Facts):
    commonmark = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for text in (HOSTILE_TEXT, HOSTILE_URL, "# a\n> b\n* c\n1. d\n`e` ~~f~~ [g](h) ![i](j) <k@l.example> &lt; |m| $n$"):
        shown = " ".join(visible(" ".join(text.split())).split())
        paragraph = html.fragment_fromstring(commonmark.render(plain(text)))
        assert (paragraph.tag, len(paragraph), paragraph.text_content().strip()) == ("p", 0, shown)
        cell = html.fragment_fromstring(commonmark.render(f"| a |\n|---|\n| {plain(text)} |")).xpath("//td")
        assert [each.text_content() for each in cell] == [shown]
        assert not any("https://" in plain(text) for text in (HOSTILE_URL, HOSTILE_TEXT))  # some renderers link it
    page = html.document_fromstring(commonmark.render(markdown(facts)))
    tables = {"table", "thead", "tbody", "tr", "th", "td"}
    assert {element.tag for element in page.iter()} <= {"html", "body", "h1", "h2", "h3", "p", "blockquote"} | tables
    funnel = [row.text_content().split() for row in page.xpath("//table[1]/tbody/tr")]
    assert ["dedup", "6", "4", "documents"] in [row[:4] for row in funnel]
