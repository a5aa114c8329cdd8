"""How commands name the remote store, and what they say when it is not one."""

from pathlib import Path

import pytest
from machines import Machine, publish
from s3_endpoint import S3Endpoint

from flows.cli import artifacts, workspace
from flows.cli.doctor import remote_store
from gristmill.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_two_stores_have_folders_of_their_own_and_servers_stay_in_the_home(home: Path, monkeypatch: pytest.MonkeyPatch):
    assert workspace.root() == workspace.home() == home
    roots = set()
    for url in ("s3://grain/a", "s3://grain/a/", "s3://grain/b", "s3://grain-b"):
        monkeypatch.setenv("GRISTMILL_STORE", url)
        assert workspace.home() == home
        assert str(workspace.store()) == url.rstrip("/")
        roots.add(workspace.root())
    assert len(roots) == 3
    assert all(root.parent == home / ".remote" for root in roots)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("GRISTMILL_HOME", "s3://grain/a", "GRISTMILL_STORE"),
        ("GRISTMILL_STORE", "grain/a", "no URL"),
        ("GRISTMILL_STORE", "s3://ann:secret-word@grain/a", "not into the URL"),
    ],
)
def test_a_setting_that_names_no_store_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=said) as caught:
        workspace.store()
    assert "secret-word" not in str(caught.value)


def test_artifacts_are_shown_and_verified(
    home: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    record = publish(machine("mill"))
    monkeypatch.setenv("GRISTMILL_STORE", machine("mill").objects.url)
    assert artifacts.list_() == artifacts.verify() == artifacts.show(record.address) == 0
    assert artifacts.lineage(record.address) == 0
    said = capsys.readouterr().out
    assert "1 artifacts are as published" in said
    assert said.count(record.address) >= 3


def test_doctor_says_whether_the_store_answers(home: Path, s3: S3Endpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_STORE", s3.url("any"))
    assert remote_store().status == "ok"
    monkeypatch.setenv("GRISTMILL_STORE", "s3://of-somebody-else/any")
    found = remote_store()
    assert found.status == "fail"
    assert "no such bucket" in found.found
