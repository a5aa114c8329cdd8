"""`gristmill costs` finds a run as every other command does."""

import json
from pathlib import Path

import pytest

from flows.cli.costs import costs
from gristmill.errors import ConfigError


def test_a_run_is_named_by_its_beginning_or_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("GRISTMILL_STORE", raising=False)
    with pytest.raises(ValueError, match="no run of this machine has finished"):
        costs(None, None, as_json=True)
    (tmp_path / "runs").mkdir()
    for name in ("night-20260101-000000", "train-20260102-000000"):
        run = json.dumps({"run": name, "seconds": 1.0, "prices": {}, "stages": []})
        (tmp_path / "runs" / f"{name}.json").write_text(run)
        (tmp_path / "last_run.json").write_text(run)
    for asked, found in (("night", "night-20260101-000000"), (None, "train-20260102-000000")):
        assert costs(asked, None, as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["run"] == found
    with pytest.raises(ConfigError, match=r"no run of .* begins so; the newest are train-.*, night-"):
        costs("day", None, as_json=True)
