from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from small_review import write_review
from starlette.testclient import WebSocketDenialResponse

from gristmill.review.folder import LOG, read_review
from gristmill.review.server import MAX_BODY, review_app

TOKEN, PORT = "a-token-of-this-test", 4999
ORIGIN = f"http://127.0.0.1:{PORT}"
ROUTES = [("GET", "/"), ("GET", "/page.js"), ("GET", "/page.css"), ("GET", "/next")]
ROUTES += [("POST", "/judgement"), ("POST", "/undo")]


@pytest.fixture
def client(folder: Path) -> TestClient:
    app = review_app(folder, "anna", token=TOKEN, port=PORT)
    return TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN}, follow_redirects=False)


def test_the_routes_below_are_all_that_the_page_has(client: TestClient):
    app: Any = client.app
    walked = {(method, route.path) for route in app._app.routes for method in route.methods}
    assert walked == set(ROUTES)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
@pytest.mark.parametrize("route", sorted({route for _, route in ROUTES} | {"/nowhere"}))
def test_no_method_passes_without_the_token(client: TestClient, method: str, route: str):
    assert client.request(method, f"{ORIGIN}{route}").status_code == 403


def test_a_web_socket_is_refused_even_with_the_token(client: TestClient):
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(f"/{TOKEN}/next"):
        pass
    assert caught.value.status_code == 403


@pytest.mark.parametrize(("method", "route"), ROUTES)
@pytest.mark.parametrize("token", ["", "/wrong", f"/{TOKEN}x", f"/{TOKEN[:-1]}", "/%C3%A9", f"//{TOKEN}"])
def test_every_route_without_the_token_is_403(client: TestClient, folder: Path, method: str, route: str, token: str):
    answer = client.request(method, f"{ORIGIN}{token}{route}", json={})
    assert (answer.status_code, answer.json()) == (403, {"problem": "refused"})
    assert not (folder / LOG).exists()


@pytest.mark.parametrize(("method", "route"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": f"evil.example:{PORT}"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://127.0.0.1:{PORT}"},
    ],
)
def test_another_host_name_or_origin_is_403_even_with_the_token(
    client: TestClient, method: str, route: str, headers: dict[str, str]
):
    assert client.request(method, f"/{TOKEN}{route}", json={}, headers=headers).status_code == 403


def test_a_change_needs_an_origin_json_and_a_size(client: TestClient, folder: Path):
    bare = TestClient(client.app, base_url=ORIGIN)
    assert bare.post(f"/{TOKEN}/undo", json={}).status_code == 403
    assert client.post(f"/{TOKEN}/undo", data={"a": "b"}).status_code == 415
    assert client.post(f"/{TOKEN}/judgement", json={"item": "x" * MAX_BODY}).status_code == 413
    chunked = client.post(f"/{TOKEN}/undo", content=iter([b"{}"]), headers={"Content-Type": "application/json"})
    assert chunked.status_code == 413
    assert not (folder / LOG).exists()


@pytest.mark.parametrize("path", ["docs", "openapi.json", "redoc", "judgements.jsonl", "server.py", "%2e%2e/log.py"])
def test_there_is_nothing_else(client: TestClient, path: str):
    assert client.get(f"/{TOKEN}/{path}").status_code == 404


@pytest.mark.parametrize(("method", "route"), [*ROUTES, ("GET", "/docs")])
def test_every_answer_forbids_what_is_not_ours(client: TestClient, method: str, route: str):
    for prefix in (f"/{TOKEN}", ""):
        headers = client.request(method, f"{ORIGIN}{prefix}{route}", json={}).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_page_holds_no_script_no_style_and_no_address_of_its_own(client: TestClient):
    page = client.get(f"/{TOKEN}/").text
    assert "http" not in page
    assert "<style" not in page
    assert 'script src="page.js" defer></script>' in page
    assert page.count("<script") == 1
    script = client.get(f"/{TOKEN}/page.js").text
    assert "innerHTML" not in script
    assert "http" not in script


def test_the_reviewer_sees_neither_models_nor_which_item_is_planted(client: TestClient, folder: Path):
    items = read_review(folder).items
    for _ in items:
        answer = client.get(f"/{TOKEN}/next")
        shown = answer.json()["item"]
        assert shown.keys() == {"id", "prompt", "left", "right"}
        assert "planted" not in answer.text
        assert "reference" not in answer.text
        item = items[shown["id"]]
        assert [shown["left"], shown["right"]] == [
            item.answers[item.left_for("anna")].text,
            item.answers[1 - item.left_for("anna")].text,
        ]
        said = client.post(f"/{TOKEN}/judgement", json={"item": shown["id"], "verdict": "left"})
        assert said.status_code == 200
    assert client.get(f"/{TOKEN}/next").json()["item"] is None


def test_a_judgement_names_the_answer_and_an_undo_brings_its_item_back(client: TestClient, folder: Path):
    first = client.get(f"/{TOKEN}/next").json()["item"]["id"]
    body = {"item": first, "verdict": "right", "remark": "clear", "seconds": 2.5}
    second = client.post(f"/{TOKEN}/judgement", json=body).json()["item"]["id"]
    assert second != first
    (said,) = read_review(folder).judged.standing
    assert (said.reviewer, said.verdict, said.remark, said.seconds) == ("anna", "right", "clear", 2.5)
    assert said.preferred == 1 - read_review(folder).items[first].left_for("anna")
    assert client.post(f"/{TOKEN}/undo", json={}).json()["item"]["id"] == first
    assert client.post(f"/{TOKEN}/undo", json={}).status_code == 409


def test_the_same_judgement_twice_counts_once(client: TestClient, folder: Path):
    first = client.get(f"/{TOKEN}/next").json()["item"]["id"]
    answers = [client.post(f"/{TOKEN}/judgement", json={"item": first, "verdict": "tie"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[0].json()["item"] == answers[1].json()["item"]
    assert len((folder / LOG).read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"verdict": "written"},
        {"verdict": "written", "written": "  "},
        {"verdict": "left", "written": "mine"},
        {"verdict": "undo"},
        {"verdict": "left", "reviewer": "boris"},
        {"verdict": "left", "seconds": -1},
    ],
)
def test_what_is_no_judgement_is_422_and_writes_nothing(client: TestClient, folder: Path, said: dict):
    first = client.get(f"/{TOKEN}/next").json()["item"]["id"]
    assert client.post(f"/{TOKEN}/judgement", json={"item": first, **said}).status_code == 422
    assert not (folder / LOG).exists()


def test_two_reviewers_judge_the_same_items_in_one_log(tmp_path: Path):
    write_review(tmp_path)
    for reviewer in ("anna", "boris"):
        app = review_app(tmp_path, reviewer, token=TOKEN, port=PORT)
        client = TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN})
        for _ in range(3):
            shown = client.get(f"/{TOKEN}/next").json()["item"]["id"]
            client.post(f"/{TOKEN}/judgement", json={"item": shown, "verdict": "left"})
    judged = read_review(tmp_path).judged
    assert list(judged.by("anna")) == list(judged.by("boris"))
