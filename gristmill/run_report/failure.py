"""What a stage that failed has left: its last words, and the line that repeats it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN_BYTES = 6000
SHOWN_LINES = 40


@dataclass(frozen=True)
class Failure:
    """`stage` is empty where the run ended between stages."""

    stage: str
    cause: str
    log: str
    command: str


def failure_of(run: Mapping[str, Any], root: Path) -> Failure | None:
    """root: the store's folder on this machine, with its drafts. None for a run that ended well."""
    if not run.get("error"):
        return None
    stopped = run.get("stopped") or {}
    draft = root / ".drafts" / str(stopped.get("key") or "none").replace("/", ".")
    lines = _end(draft / "log.txt").splitlines()[-SHOWN_LINES:]
    return Failure(stopped.get("stage", ""), run["error"], "\n".join(lines), _end(draft / "command.txt").strip())


def _end(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - SHOWN_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
