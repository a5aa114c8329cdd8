"""A real browser for every test that looks at a page."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

# without these Chromium looks up hosts of its maker at every start
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")  # no longer: Playwright's event loop would be in the way of other tests'
def browser() -> Iterator[Any]:
    """Chromium; the test is skipped where there is none."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine; Debian: apt install chromium")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=QUIET)
        yield opened
        opened.close()
