"""Where things are for a command: configurations, the artifact store, and what earlier runs did."""

import fcntl
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.config import PipelineConfig
    from gristmill.objects import Objects
    from gristmill.store import ArtifactStore, Recipe

STAMP = "%Y%m%d-%H%M%S"
"""A run's name ends with when it began, so written."""
CHECKOUT = Path(__file__).resolve().parents[2]


def home() -> Path:
    """Where this machine works: GRISTMILL_HOME, or `artifacts/` of this checkout, or the user's data folder when
    installed. Raises ConfigError for a URL."""
    if given := os.environ.get("GRISTMILL_HOME"):
        if "://" in given:
            raise ConfigError(
                "GRISTMILL_HOME is a folder of this machine, for drafts, copies and servers, and here it is a URL; "
                "name the store with GRISTMILL_STORE"
            )
        return Path(given).expanduser().resolve()
    if (CHECKOUT / "pipeline_configs").is_dir():
        return CHECKOUT / "artifacts"
    from platformdirs import user_data_path

    return user_data_path("gristmill")


def store() -> "ArtifactStore":
    """The artifact store: at the URL GRISTMILL_STORE, or the folder `home()`. Raises ConfigError."""
    if remote := _remote():
        from gristmill.remote_store import RemoteStore

        return RemoteStore(remote, root())
    from gristmill.store import ArtifactStore

    return ArtifactStore(root())


def root() -> Path:
    """The store's folder on this machine, with its artifacts or their copies, and `runs/`."""
    remote = _remote()
    if remote is None:
        return home()
    # two stores never share copies: one address may be another artifact in each
    digest = hashlib.sha256(remote.url.encode()).hexdigest()[:8]
    return home() / ".remote" / f"{re.sub(r'[^A-Za-z0-9]+', '-', remote.url)}-{digest}"


def _remote() -> "Objects | None":
    """What GRISTMILL_STORE names. Raises ConfigError."""
    url = os.environ.get("GRISTMILL_STORE", "").rstrip("/")
    if not url:
        return None
    from gristmill.objects import Objects

    try:
        return Objects(url)
    except ValueError as error:
        raise ConfigError(f"GRISTMILL_STORE: {error}") from None


def config_path(name: str) -> Path:
    """A configuration by path, or by name from `pipeline_configs/` here or in the checkout. Raises ConfigError."""
    given = Path(name)
    if given.suffix in (".yaml", ".yml"):
        return given
    for folder in (Path("pipeline_configs"), CHECKOUT / "pipeline_configs"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted(
        path.stem for path in (CHECKOUT / "pipeline_configs").glob("*.yaml") if path.stem not in ("base", "deployments")
    )
    raise ConfigError(
        f"--config {name}: no such configuration; there are {', '.join(known)}, or give a path to a .yaml file"
    )


def deployments_path() -> Path:
    """`deployments.yaml` from `pipeline_configs/` here or in the checkout."""
    here = Path("pipeline_configs") / "deployments.yaml"
    return here if here.is_file() else CHECKOUT / here


def load_config(name: str, overrides: Sequence[str]) -> "PipelineConfig":
    """The validated configuration of a command. Raises ConfigError."""
    from gristmill.config import PipelineConfig
    from gristmill.yaml import load_yaml

    return load_yaml(config_path(name), overrides, PipelineConfig)


def check_stages(names: Sequence[str]) -> frozenset[str]:
    """The names given to --refresh. Raises ConfigError for one that is no stage."""
    from gristmill.config import PipelineConfig

    sections = {field.alias or name for name, field in PipelineConfig.model_fields.items()}
    without_stage = {"resources", "prices", "model", "leave_out", "nights", "licenses"}
    known = sorted(sections - without_stage | {"corpus", "open_model"})
    for name in names:
        if name.partition("[")[0] not in known:
            raise ConfigError(f"--refresh {name}: no such stage; there are {', '.join(known)}")
    return frozenset(names)


def write_json(path: Path, value: Any) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())  # else a power cut after the rename leaves an empty file under the name
    Path(file.name).chmod(0o644)  # temporary files are made for their owner's eyes only
    Path(file.name).rename(path)


def runs(*, before: str | None = None) -> Iterator[dict[str, Any]]:
    """What earlier runs wrote about themselves, newest first; with `before`, those that began before that run.

    One that cannot be read is left out, with a note.
    """
    for path in sorted((root() / "runs").glob("*.json"), key=lambda path: path.stem[-15:], reverse=True):
        if before is None or path.stem[-15:] < before[-15:]:
            try:
                yield read_run(path)
            except ValueError as error:
                print(f"note: left out: {error}", file=sys.stderr)


def read_run(path: Path) -> dict[str, Any]:
    """What a run wrote about itself. Raises ValueError where that was damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no run's summary ({error}); delete it, or bring it back from a backup") from None


@contextmanager
def run_name(wanted: str) -> Iterator[str]:
    """The name of a run, held for the block. Where a run that goes on or went well has the wanted one, since both began
    in one second, it is that of the next free second. A run that failed and is tried again keeps its own.
    """
    name = wanted
    while True:
        lock = root() / ".locks" / f"run.{name}"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as handle:
            if _is_free(handle) and not _went_well(root() / "runs" / f"{name}.json"):
                yield name
                return
        name = f"{name[:-15]}{datetime.strptime(name[-15:], STAMP) + timedelta(seconds=1):{STAMP}}"


def _is_free(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _went_well(path: Path) -> bool:
    with suppress(FileNotFoundError, ValueError):
        return read_run(path).get("error") is None
    return False


def earlier_recipes() -> "dict[str, Recipe]":
    """Stage label → its recipe in the newest run that had this stage and whose artifact is still recorded."""
    from gristmill.store import BrokenArtifact

    shelf, found = store(), {}
    for run in runs():
        for stage in run["stages"]:
            if stage["stage"] in found or stage["key"].endswith("-unknown"):
                continue
            with suppress(FileNotFoundError, BrokenArtifact):
                found[stage["stage"]] = shelf.recorded(stage["key"]).recipe
    return found
