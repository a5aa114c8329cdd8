"""deployments.yaml: what it may say, what becomes of it in Prefect, and what is tried again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from faulty_server import FaultyServer
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from flows.cli import schedule
from flows.cli.deployed import patiently
from flows.cli.deployments import Deployments
from gristmill.align.rows_config import located
from gristmill.crawl.transfer import Refused
from gristmill.errors import ConfigError, NotHere, SourceUnavailable
from gristmill.fingerprint import content_digest
from gristmill.reference_files import reference_file
from gristmill.yaml import load_yaml
from tasks.stage import StageFailed
from tasks.tracking import explained

SHIPPED = Path(__file__).parents[3] / "pipeline_configs" / "deployments.yaml"


def shipped() -> dict[str, Any]:
    wanted = load_yaml(SHIPPED, (), Deployments)
    return {each.name: (wanted, each) for each in wanted.deployments}


def test_the_shipped_file_has_the_four_deployments():
    found = {name: (each.flow, each.cron) for name, (_, each) in shipped().items()}
    assert found == {
        "nightly-crawl": ("crawl", "30 1 * * *"),
        "weekly-train": ("pipeline", "0 4 * * sun"),
        "promote": ("promote", None),
        "maintenance": ("maintenance", "0 12 * * *"),
    }


def test_a_run_becomes_a_deployment_with_its_clock_its_form_and_no_overlap():
    made = schedule._deployment(*shipped()["nightly-crawl"])
    assert made.flow_name == "crawl"
    assert made.entrypoint == "flows.cli.deployed.crawl"
    assert made.concurrency_limit == 1
    assert made.concurrency_options
    assert made.concurrency_options.collision_strategy.value == "ENQUEUE"
    assert made.tags == ["crawl", "gristmill"]
    (clock,) = made.schedules or []
    assert clock.schedule
    assert clock.schedule.model_dump(include={"cron", "timezone"}) == {
        "cron": "30 1 * * *",
        "timezone": "Europe/Berlin",
    }
    assert made.parameters["settings"]["config"] == "nightly"
    assert made._parameter_openapi_schema
    form = made._parameter_openapi_schema.model_dump()["definitions"]["RunSettings"]["properties"]
    assert form["overrides"]["description"] == "Settings that differ, each as `a.b=value`."


def test_a_promotion_waits_for_the_event_of_a_challenger():
    made = schedule._deployment(*shipped()["promote"])
    (trigger,) = made.triggers
    assert trigger.model_dump()["expect"] == {"gristmill.challenger.waits"}
    assert not made.schedules


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"timezone": "Europe/Atlantis"}, "'Europe/Atlantis' names no time zone"),
        ({"deployments": [{"name": "m", "flow": "maintenance", "cron": "61 1 * * *"}]}, "is no cron schedule"),
        ({"deployments": [{"name": "n", "flow": "crawl", "settings": {"config": "nigthly"}}]}, "no such configuration"),
        (
            {"deployments": [{"name": "n", "flow": "crawl", "settings": {"config": "web", "overrides": ["mix.x=1"]}}]},
            "mix",
        ),
        ({"deployments": [{"name": "p", "flow": "promote"}, {"name": "p", "flow": "promote"}]}, "two deployments"),
    ],
)
def test_a_mistake_is_found_before_anything_is_scheduled(change: dict[str, Any], complaint: str, tmp_path: Path):
    from ruamel.yaml import YAML

    with (tmp_path / "d.yaml").open("w") as file:
        YAML(typ="safe").dump({"deployments": [], **change}, file)
    with pytest.raises(ConfigError, match=complaint):
        load_yaml(tmp_path / "d.yaml", (), Deployments)


def test_deploy_beside_a_prefect_server_that_is_named_starts_no_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("flows.cli.servers.Server.start", lambda *arguments: pytest.fail("a server is started"))
    with FaultyServer(answers={"api/health": lambda query: (200, b"true")}) as prefect:
        monkeypatch.setenv("PREFECT_API_URL", f"{prefect.url}/api")
        with pytest.raises(ConfigError, match=r"none\.yaml"):  # what comes next: the file
            schedule.deploy(pool="cpu", deployments=tmp_path / "none.yaml")
        assert os.environ["PREFECT_API_URL"] == f"{prefect.url}/api"
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_only_names_a_deployment_that_is_there():
    with pytest.raises(ConfigError, match="there are nightly-crawl, weekly-train, promote, maintenance"):
        schedule._load(SHIPPED, ("nightly",))
    assert [each.name for each in schedule._load(SHIPPED, ("promote",)).deployments] == ["promote"]


def mlflow_failure(message: str, code: str) -> Exception:
    """As MLflow's client states it: by an error code, from which a status follows."""
    with pytest.raises(RuntimeError) as caught, explained("log_batch"):
        raise MlflowException(message, error_code=ErrorCode.Value(code))
    return caught.value


def unless_raised(look: Callable[[], object]) -> Exception:
    with pytest.raises(SourceUnavailable) as caught:
        look()
    return caught.value


class Attempts:
    """Fails with these errors in turn, then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.made = list(errors), 0

    def __call__(self) -> None:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("flows.cli.deployed.time.sleep", slept.append)
    return slept


def test_what_is_away_is_tried_again_after_growing_pauses(pauses: list[float]):
    attempt = Attempts(
        SourceUnavailable("no network"),
        StageFailed("ingest", httpx.ConnectTimeout("slow")),
        StageFailed("register", ConnectionResetError()),
        StageFailed("register", mlflow_failure("connection refused", "INTERNAL_ERROR")),
        mlflow_failure("too many", "REQUEST_LIMIT_EXCEEDED"),
    )
    said: list[str] = []
    patiently(attempt, [60, 240, 960, 5, 6], say=said.append)
    assert attempt.made == 6
    assert pauses == [60, 240, 960, 5, 6]
    assert said[0] == "no network; tried again in 60 s"


def test_the_last_attempt_says_what_is_wrong(pauses: list[float]):
    attempt = Attempts(*[SourceUnavailable(f"away {n}") for n in range(3)])
    with pytest.raises(SourceUnavailable, match="away 2"):
        patiently(attempt, [1, 2], say=str)
    assert attempt.made == 3


@pytest.mark.parametrize(
    "error",
    [
        ValueError("lr=-1"),
        StageFailed("pretrain", OSError(28, "No space left on device")),
        StageFailed("sft", RuntimeError("was ended by SIGKILL")),
        NotHere("tokenizer/train_tokenizer-000000000000 is not (whole) in the store"),
        StageFailed("preferences", NotHere("JUDGE_API_KEY has no key")),
        StageFailed("register", mlflow_failure("not yours", "PERMISSION_DENIED")),
        mlflow_failure("no such tag", "INVALID_PARAMETER_VALUE"),
        unless_raised(lambda: reference_file("no/such.txt", setting="signals.bad_words.de")),
        unless_raised(lambda: located(["no/such.jsonl"])),
        unless_raised(lambda: content_digest(Path("no/such.gguf"))),
        Refused("https://example.org/a answers 404 Not Found", status=404),
    ],
)
def test_what_would_fail_again_fails_at_once(error: Exception, pauses: list[float]):
    attempt = Attempts(error)
    with pytest.raises(type(error)):
        patiently(attempt, [60], say=str)
    assert (attempt.made, pauses) == (1, [])
