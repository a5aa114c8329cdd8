"""A server that misbehaves, and a Fetcher whose waits are written down in place of being waited."""

from collections.abc import Iterator

import pytest
from faulty_server import FaultyServer

from gristmill.crawl.fetch import Fetcher


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with FaultyServer() as server:
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited, in order."""
    waited: list[float] = []
    monkeypatch.setattr(Fetcher, "_sleep", lambda _self, seconds: waited.append(seconds))
    return waited
