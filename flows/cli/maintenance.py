"""The flow `maintenance`: each part is a task, and a part that fails does not keep the others from running."""

import time
from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.cli import workspace
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
        parts["gc"] = lambda: collect(settings.drafts_older_than_days)
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


def collect(drafts_older_than_days: float) -> list[str]:
    """Delete drafts nobody has touched for so long, and shards that no artifact holds. Returns a line for each kind."""
    import shutil

    from gristmill.remote_store import RemoteStore
    from gristmill.shard_cache import unused_entries

    store = workspace.store()
    before = time.time() - drafts_older_than_days * 86_400
    old = [draft for draft in store.drafts() if _touched(draft) < before]
    lines = [f"deleted the draft {draft.name}" for draft in old if store.discard(draft)]
    if isinstance(store, RemoteStore):
        from gristmill.remote_gc import delete_unused, unused_objects

        deleted = delete_unused(store, unused_objects(store))
        return [*lines, f"deleted {len(deleted):,} objects that nothing names"]
    recorded = {entry.sha256 for record in store.records() for entry in record.files}
    shards = list(unused_entries(store.root, recorded))
    for entry in shards:
        shutil.rmtree(entry)
    return [*lines, *([f"deleted {len(shards):,} shards that no artifact holds"] if shards else [])]


def _touched(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def verify() -> list[str]:
    """Hash every file of every artifact. Raises RuntimeError naming those that differ from their record."""
    store = workspace.store()
    addresses = store.addresses()
    faults = [fault for address in addresses for fault in store.verify(address)]
    if faults:
        raise RuntimeError(f"{'; '.join(faults)}; `--refresh STAGE` builds an artifact again")
    return [f"{len(addresses)} artifacts are as published"]
