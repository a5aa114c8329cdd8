"""One store for all end-to-end tests: the micro configuration is built once, then reused."""

from typing import Any

import pytest
from workplace import Workplace


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory):
    workplace = Workplace(tmp_path_factory.mktemp("store"))
    yield workplace
    workplace("down")


@pytest.fixture(scope="session")
def first(work: Workplace) -> dict[str, Any]:
    return work.run()


@pytest.fixture(scope="session")
def second(work: Workplace, first: dict[str, Any]) -> dict[str, Any]:
    return work.run()
