"""docker-compose.yml read as a file: pinned, locked down, on loopback, and without a secret in it."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
STACK: dict[str, Any] = YAML(typ="safe").load(TEXT)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
EXAMPLE = dict(line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line[:1].isupper())
OPTIONAL = {"GRISTMILL_WEBHOOK_URL", "GRISTMILL_PRIVATE_NETWORKS"}

services = pytest.mark.parametrize("name", SERVICES)


def test_the_parts_of_the_stack():
    assert set(SERVICES) == {
        *("postgres", "redis", "prefect", "prefect-services", "init", "mlflow", "s3"),
        *("worker-cpu", "worker-gpu", "review"),
    }
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "worker-gpu": ["gpu"],
        "review": ["review"],
    }


@services
def test_every_image_has_a_whole_version(name: str):
    assert re.fullmatch(r"[a-z0-9/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", SERVICES[name]["image"])


def test_the_images_we_build_start_from_a_pinned_one_and_end_as_another_user_than_root():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    targets = re.findall(r"^FROM (\S+) AS (\w+)$", dockerfile, re.M)
    assert targets == [("python:3.11.14-slim-bookworm", "base"), ("base", "gristmill"), ("base", "mlflow")]
    for target in dockerfile.split("\nFROM base AS ")[1:]:
        assert re.findall(r"^USER (\S+)$", target, re.M) == ["grist"]


@services
def test_nobody_is_root_and_nothing_writes_outside_its_volumes(name: str):
    service = SERVICES[name]
    assert not service["user"].startswith(("0", "root"))
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@services
def test_ports_are_open_on_this_machine_alone(name: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@services
def test_every_service_that_stays_says_whether_it_is_well(name: str):
    assert ("healthcheck" in SERVICES[name]) == (name != "init")


@services
def test_what_a_service_needs_is_well_before_it_starts(name: str):
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if needed == "init" else "service_healthy"
        if (name, needed) != ("init", "prefect-services"):
            assert how["condition"] == expected


@services
def test_data_lies_in_named_volumes(name: str):
    for volume in SERVICES[name].get("volumes", []):
        source, _, rest = volume.partition(":")
        assert source in STACK["volumes"] or (source.startswith("./") and rest)
        if source.startswith("./") and source != "./review":
            assert volume.endswith(":ro")


def test_every_secret_comes_from_the_environment_and_is_asked_for():
    asked = set(re.findall(r"\$\{([A-Z0-9_]+):\?", TEXT))
    assert asked == set(EXAMPLE) - OPTIONAL
    assert set(re.findall(r"\$\{([A-Z0-9_]+):-\}", TEXT)) == OPTIONAL
    assert set(EXAMPLE.values()) == {""}
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH|ACCESS_KEY|CONNECTION_URL|STORE_URI|DOCKET", variable):
                assert "${" in value, variable


def test_two_databases_have_two_users_that_cannot_open_each_other():
    script = (ROOT / "docker" / "postgres-init.sh").read_text()
    assert re.findall(r"^add_database (\w+)", script, re.M) == ["prefect", "mlflow"]
    assert "REVOKE CONNECT ON DATABASE" in script
    assert (
        "//prefect:${PREFECT_DB_PASSWORD"
        in SERVICES["prefect"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    )
    assert "//mlflow:${MLFLOW_DB_PASSWORD" in SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]


def test_every_gristmill_command_is_one_that_the_command_line_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """docker-compose.yml's, with the folders of this machine in place of a container's."""
    from cyclopts import CycloptsError

    from flows.cli.main import app

    shown = [" ".join(map(str, service.get("command", []))) for service in SERVICES.values()]
    commands = [found for text in shown for found in re.findall(r"(?<![\w/.-])gristmill ([^&|;]+)", text)]
    assert sorted(command.split()[0] for command in commands) == ["deploy", "review"]
    for command in commands:
        try:
            app.parse_args(command.replace("/review", str(tmp_path)).split(), exit_on_error=False, print_error=False)
        except CycloptsError as error:
            pytest.fail(f"gristmill {command}: {error}")


def test_prefect_is_split_and_a_worker_has_time_for_a_checkpoint():
    assert "--no-services" in SERVICES["prefect"]["command"]
    assert SERVICES["prefect-services"]["command"][-2:] == ["services", "start"]
    from tasks.launch import GRACE_S

    for worker in ("worker-cpu", "worker-gpu"):
        assert SERVICES[worker]["stop_grace_period"] == "5m"
        assert SERVICES[worker]["init"] is True
        assert SERVICES[worker]["shm_size"]
    assert GRACE_S < 5 * 60
