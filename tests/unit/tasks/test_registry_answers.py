"""What the registry's REST interface may answer, and what is made of it."""

import json
import traceback

import pytest
from faulty_server import FaultyServer

from gristmill.errors import NotHere, SourceUnavailable
from tasks.registry import aliases_of, version_by_alias

PATH = "api/2.0/mlflow/registered-models/alias"
HTML = b"<html><title>404 Not Found</title></html>"


def answered(status: int, body: bytes, monkeypatch: pytest.MonkeyPatch):
    with FaultyServer(answers={PATH: lambda query: (status, body)}) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        return version_by_alias("gristmill", "champion")


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"])
def test_what_does_not_exist_is_none(code: str, monkeypatch: pytest.MonkeyPatch):
    assert answered(404, json.dumps({"error_code": code}).encode(), monkeypatch) is None


@pytest.mark.parametrize(
    ("status", "body"), [(404, HTML), (400, b""), (404, b"[]"), (200, HTML), (200, b"[]"), (403, b"no")]
)
def test_what_is_no_mlflow_or_lets_nobody_in_is_named_and_not_asked_again(
    status: int, body: bytes, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(NotHere, match=rf"MLflow at http://127\.0\.0\.1:\d+ answered {status} to registered-models"):
        answered(status, body, monkeypatch)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_may_be_asked_again(status: int, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SourceUnavailable, match=f"answered {status}") as caught:
        answered(status, HTML, monkeypatch)
    assert not isinstance(caught.value, NotHere)


def test_a_password_that_makes_the_address_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret/word@127.0.0.1:9")
    with pytest.raises(NotHere, match=r"MLFLOW_TRACKING_URI=http://127\.0\.0\.1:9 is no address") as caught:
        aliases_of("gristmill", "1")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret@127.0.0.1:9")
    with pytest.raises(SourceUnavailable, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        aliases_of("gristmill", "1")
