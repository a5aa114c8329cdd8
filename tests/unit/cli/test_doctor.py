"""What `gristmill doctor` says about planted faults, and how."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from flows.cli import doctor as doctoring
from flows.cli.doctor import Check, checks, doctor


@pytest.fixture(autouse=True)
def no_server_named_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)


def test_every_check_that_is_not_ok_says_what_to_do(tmp_path: Path):
    found = checks(tmp_path / "not yet there")
    assert {"python", "disk", "memory", "gpu", "servers", "packages", "ray"} <= {check.name for check in found}
    assert all(check.what_to_do for check in found if check.status != "ok")


def test_json_carries_a_schema_version_and_the_exit_code_says_whether_a_run_would_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for check, code in (
        (Check("disk", "warn", "3 GB", "free some"), 0),
        (Check("disk", "fail", "0.1 GB", "free some"), 1),
    ):
        monkeypatch.setattr(doctoring, "checks", lambda root, check=check: [check])
        assert doctor(tmp_path, True) == code
        printed = json.loads(capsys.readouterr().out)
        assert printed["schema_version"] == 1
        assert printed["checks"] == [asdict(check)]


def test_a_package_of_another_version_is_a_warning_and_a_missing_one_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctoring, "CHECKOUT", tmp_path)
    lock = tmp_path / "requirements.lock"
    lock.write_text("pytest==0.1\n")
    assert doctoring.packages().status == "warn"
    assert "(locked 0.1)" in doctoring.packages().found
    lock.write_text("no-such-package==1.0\n")
    assert doctoring.packages() == Check(
        "packages", "fail", "no-such-package missing (locked 1.0)", doctoring.packages().what_to_do
    )


def test_more_threads_than_cores_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert doctoring.processors().status == "warn"
    assert "OMP_NUM_THREADS=" in doctoring.processors().what_to_do
