"""What an operator sees: Prefect's page of a reused run and MLflow's page of the model, in a real browser."""

import shutil
from typing import Any

import pytest
from workplace import Workplace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# without these Chromium looks up hosts of its maker at every start
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def page():
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine; Debian: apt install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def test_prefect_shows_the_stages_of_a_reused_run_as_cached(work: Workplace, second: dict[str, Any], page: Any):
    page.goto(f"{work.server('prefect')}/runs")
    page.get_by_text(second["run"]).first.click()
    page.get_by_text("Task Runs").first.click()
    page.get_by_text("Cached").first.wait_for(timeout=30_000)
    shown = page.locator("body").inner_text()
    assert "promote" in shown
    assert "Failed" not in shown


def test_mlflow_shows_the_registered_model_with_its_aliases(work: Workplace, second: dict[str, Any], page: Any):
    page.goto(f"{work.server('mlflow')}/#/models/gristmill")
    page.get_by_text("champion").first.wait_for(timeout=30_000)
    assert "challenger" in page.locator("body").inner_text()
