"""The report of a run in a real browser, with JavaScript and without: nothing runs, nothing is fetched, all fits."""

from pathlib import Path
from typing import Any

import pytest
from small_run import make_run

from gristmill.run_report.facts import gather
from gristmill.run_report.page import write_page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module", params=["promoted", "failed"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_run(tmp_path_factory.mktemp("store"), rule=SCRIPT * 3, answer=SCRIPT + "x" * 900)
    failed = {"error": SCRIPT, "stopped": {"stage": "align", "key": "checkpoint/align-0"}}
    path = made.store.root / "report.html"
    write_page(gather(made.store, made.run(**failed if request.param == "failed" else {}), []), path)
    return path


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (320, "light")])
def test_a_report_stays_still_and_fits_its_window(browser: Any, report: Path, scripts: bool, width: int, scheme: str):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    assert asked == [report.as_uri()]
    assert said == []  # a style that the policy refuses would be complained about here
    assert "owned" not in page.title()
    assert page.locator("script").count() == 0
    assert SCRIPT in page.locator("dl.answers dd").first.inner_text()
    for tile in page.locator("main > dl.facts > div").all():
        box = tile.bounding_box()
        assert box["y"] + box["height"] < 900  # the first screen
    if scripts:  # `evaluate` needs them
        assert page.evaluate("document.documentElement.scrollWidth") == width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 28)")
    page.close()


def test_on_paper_every_section_is_there_and_nothing_is_cut_at_the_side(browser: Any, report: Path, tmp_path: Path):
    page = browser.new_page(viewport={"width": 794, "height": 1123})
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 794
    assert page.locator("section > h2").count() == page.locator("section > h2:visible").count() >= 8
    printed = page.pdf(path=tmp_path / "report.pdf")
    assert printed.startswith(b"%PDF")
    page.close()
