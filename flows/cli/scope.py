"""Which artifacts `trace` and `report` ask: those of the last run, another run, an artifact or a model."""

import os
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli import workspace
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.scope import Scope

Run = Annotated[str | None, Parameter(name="--run", help="A run's name or its beginning; the last run when left out.")]
Address = Annotated[str | None, Parameter(name="--artifact", help="An artifact, with everything behind it.")]
Model = Annotated[
    str | None,
    Parameter(name="--model", help="A registered model, NAME, NAME@ALIAS or NAME/2, with everything behind it."),
]


def find_scope(run: str | None = None, artifact: str | None = None, model: str | None = None) -> "Scope":
    """The artifacts to ask. Raises ConfigError for more than one choice or a run that is not there, ValueError
    without any run, FileNotFoundError for an artifact that is gone."""
    from gristmill.scope import scope_of_artifact, scope_of_run

    if sum(choice is not None for choice in (run, artifact, model)) > 1:
        raise ConfigError("--run, --artifact and --model exclude each other; give one of them")
    if artifact or model:
        address = artifact or address_of(find_version(model or ""), model or "", "artifact")
        return scope_of_artifact(workspace.store(), address)
    chosen = find_run(run)
    return scope_of_run(workspace.store(), chosen["run"], [stage["key"] for stage in chosen["stages"]])


def find_run(name: str | None) -> dict[str, Any]:
    """What a run wrote about itself; the last one without a name. Raises ConfigError or ValueError."""
    return _run_named(name) if name else _last_run()


def _last_run() -> dict[str, Any]:
    path = workspace.root() / "last_run.json"
    if not path.exists():
        raise ValueError(
            f"no run of this machine has finished in {workspace.store()} yet; start one, or name an --artifact"
        )
    return workspace.read_run(path)


def _run_named(name: str) -> dict[str, Any]:
    """The newest run whose name begins so."""
    names = []
    for run in workspace.runs():
        names.append(run["run"])
        if run["run"].startswith(name):
            return run
    known = f"the newest are {', '.join(names[:3])}" if names else "there is none"
    raise ConfigError(f"run {name}: no run of {workspace.store()} begins so; {known}")


def find_version(model: str) -> dict[str, Any]:
    """The version of a registered model, as NAME, NAME@ALIAS or NAME/VERSION, with its tags. Raises ValueError."""
    from tasks.registry import model_versions, version_by_alias

    use_own_servers()
    if "/" in model:
        name, _, number = model.partition("/")
        found = next((each for each in model_versions(name) if str(each["version"]) == number), None)
    else:
        name, _, alias = model.partition("@")
        found = version_by_alias(name, alias or "champion")
    if found is None:
        raise ValueError(f"{model}: the registry has no such version; give NAME@ALIAS or NAME/VERSION")
    return found


def address_of(version: dict[str, Any], model: str, what: str) -> str:
    """Of the `artifact` or the `evaluation` of a registered version, called `model`. Raises ValueError for one that
    gristmill did not register."""
    address = version["tags"].get(f"gristmill.{what}")
    if address is None:
        raise ValueError(
            f"{model}: this version has no tag gristmill.{what}, so gristmill did not register it and knows nothing of "
            "how it was made; name a version that `gristmill run pipeline` registered, or an artifact's address"
        )
    return address


def use_own_servers() -> None:
    """Let questions to the registry go to gristmill's own MLflow when it is up; start nothing."""
    from flows.cli.servers import find_endpoints

    endpoints = find_endpoints(workspace.home())
    if endpoints:
        os.environ.update(endpoints.environment())
