"""The report of hostile pages in a real browser: nothing runs, nothing is fetched, nothing sticks out of a phone."""

from pathlib import Path
from typing import Any, Literal

import pytest
from audited_store import make_store

from gristmill.data_report.facts import gather
from gristmill.data_report.page import write_page
from gristmill.scope import scope_of_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LOOKS: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (400, "dark")]


def test_a_hostile_report_stays_still_and_fits_its_window(browser: Any, tmp_path: Path):
    store = make_store(tmp_path / "home")
    report = tmp_path / "report.html"
    write_page(gather(scope_of_run(store, "test", [record.address for record in store.records()])), report)
    for width, scheme in LOOKS:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        asked, said = [], []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("dialog", lambda dialog, said=said: said.append(dialog.message))
        page.goto(report.as_uri())
        assert asked == [report.as_uri()]
        assert said == []  # a style that the policy refuses would be complained about here
        assert page.title() == "Data report: run test"
        assert page.evaluate("document.documentElement.scrollWidth") == width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 28)")
