"""The flow `maintenance`: each part is a task, and a part that fails does not keep the others from running."""

from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.cli import workspace
from flows.cli.artifacts import collect, hashed
from flows.cli.backup import back_up
from flows.cli.deployments import MaintenanceSettings
from flows.cli.liveness import sweep


def maintain(settings: MaintenanceSettings) -> None:
    """Run the parts that are asked for. Raises RuntimeError, at the end, when one of them failed."""
    log = get_run_logger()
    failed = [name for name, part in _parts(settings).items() if not _ran(name, part, log.info, complain=log.error)]
    if failed:
        raise RuntimeError(f"maintenance: {', '.join(failed)} failed; the log of each says why")


def _parts(settings: MaintenanceSettings) -> dict[str, Callable[[], list[str]]]:
    root = workspace.root()
    parts: dict[str, Callable[[], list[str]]] = {}
    if settings.sweep:
        parts["sweep"] = lambda: [f"{name} had no process any more: Crashed" for name in sweep(workspace.home())]
    if settings.gc:
        parts["gc"] = lambda: list(collect(yes=True, drafts_older_than_days=settings.drafts_older_than_days))
    if settings.verify:
        parts["verify"] = verify
    if settings.backups:
        parts["backup"] = lambda: [back_up(workspace.home(), root, keep=settings.backups)]
    return parts


def _ran(
    name: str, part: Callable[[], list[str]], say: Callable[[str], object], *, complain: Callable[[str], object]
) -> bool:
    run = task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(part)
    state = run(return_state=True)
    if state.is_failed():
        complain(f"{name}: {state.message}")
        return False
    for line in state.result() or ["nothing to do"]:
        say(f"{name}: {line}")
    return True


def verify() -> list[str]:
    """Hash every file of every artifact. Raises RuntimeError naming those that differ from their record."""
    checked, faults = hashed()
    if faults:
        raise RuntimeError(f"{'; '.join(faults)}; `--refresh STAGE` builds an artifact again")
    return [f"{checked} artifacts are as published"]
