"""What an operator sees: Prefect's page of a reused run and MLflow's page of the model, in a real browser."""

from typing import Any

import pytest
from workplace import Workplace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def page(browser: Any):
    return browser.new_page(viewport={"width": 1400, "height": 1000})


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
