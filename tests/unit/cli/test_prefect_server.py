"""Prefect's own server behind a list of host names: every route of it, without starting it."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.server.api import server
from starlette.routing import Mount, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from flows.cli.prefect_server import answer_only_to


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    """What uvicorn is given; its lifespan, and so its database, is not begun."""
    before = server.create_app
    answer_only_to(["127.0.0.1", "localhost"])
    yield server.create_app(final=True)
    server.create_app = before


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of everything below an app, WebSockets as `WEBSOCKET`."""
    for route in app.routes:
        path = prefix + getattr(route, "path", "")
        if isinstance(route, Mount):
            yield from routes(route, path) if route.routes else [("GET", f"{path}/x")]
        elif included := getattr(route, "original_router", None):  # FastAPI's
            yield from routes(included, prefix)
        elif isinstance(route, WebSocketRoute):
            yield "WEBSOCKET", path
        else:
            yield from ((method, path) for method in sorted(route.methods))


def test_every_route_of_prefect_s_server_refuses_another_host(served: Any):
    found = list(routes(served.app))
    assert len(found) > 150
    assert {"GET", "POST", "PUT", "PATCH", "DELETE", "WEBSOCKET"} <= {method for method, _ in found}
    foreign = TestClient(served, base_url="http://evil.example", raise_server_exceptions=False)
    for method, path in found:
        if method == "WEBSOCKET":
            with pytest.raises(WebSocketDenialResponse) as refused, foreign.websocket_connect(path):
                pass
            assert refused.value.status_code == 400, path
        else:
            answer = foreign.request(method, path)
            assert (answer.status_code, answer.text) == (400, "" if method == "HEAD" else "Invalid host header"), path


@pytest.mark.parametrize("host", ["127.0.0.1:4310", "localhost:4310", "localhost"])
def test_its_own_names_are_answered(served: Any, host: str):
    client = TestClient(served, base_url=f"http://{host}")
    assert client.get("/api/version").status_code == 200
    with pytest.raises((WebSocketDisconnect, RuntimeError)), client.websocket_connect("/api/events/in") as socket:
        socket.receive_json()  # it was let in, and left for it did not say that it speaks Prefect's protocol


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:4310", ""])
def test_what_only_looks_like_one_of_its_names_is_not(served: Any, host: str):
    answer = TestClient(served).get("/api/version", headers={"Host": host})
    assert answer.status_code == 400


def test_what_the_server_says_to_itself_takes_no_host(served: Any):
    assert server.create_app() is not served
    assert TestClient(server.create_app(), base_url="http://prefect-in-memory").get("/api/version").status_code == 200
