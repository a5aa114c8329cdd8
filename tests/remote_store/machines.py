"""Small artifacts, and machines that share a remote store."""

from collections.abc import Callable
from pathlib import Path

from gristmill.remote_store import RemoteStore
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe, Record

SECRET = "planted/Secret+key0123456789"
Machine = Callable[[str], RemoteStore]
"""machine(name): the store as a machine with a disk of its own sees it."""

REPORT = Report(rows_in=1, rows_out=1)
RECIPE = Recipe(kind="documents", stage="dedup", version=1, config={}, inputs={})


def build(store: ArtifactStore, draft: Path, content: str, run: str = "test", recipe: Recipe = RECIPE) -> Record:
    for name in ("a.txt", "deep/b.txt"):
        (draft / name).parent.mkdir(exist_ok=True)
        (draft / name).write_text(f"{content} {name}")
    return store.publish(draft, recipe, REPORT, label=recipe.stage, run=run, seconds=1.0)


def publish(store: ArtifactStore, content: str = "grist", run: str = "test", recipe: Recipe = RECIPE) -> Record:
    with store.building(recipe.address) as draft:
        return build(store, draft, content, run, recipe)


def sha256_of(record: Record, path: str = "a.txt") -> str:
    return next(entry.sha256 for entry in record.files if entry.path == path)
