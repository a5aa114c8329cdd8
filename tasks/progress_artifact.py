"""How far a long stage is, in Prefect's UI: an artifact of its task run that moves."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

from gristmill.progress import Moment, watched

EVERY_S = 10.0
FAREWELL_S = 2.0


@dataclass
class _Latest:
    moment: Moment | None = None
    finished: bool = False


@contextmanager
def progress_artifact(label: str) -> Iterator[None]:
    """Show the progress of the work in the block; work that is over within EVERY_S shows none.

    A thread of its own asks what the latest is and tells Prefect: the work never waits for a server.
    """
    latest, over = _Latest(), threading.Event()

    def see(moment: Moment) -> None:
        latest.moment = moment

    def follow() -> None:
        shown: Any = None
        told = None
        while not over.wait(EVERY_S):
            if latest.moment not in (None, told) and (moment := latest.moment) and moment.total:
                with suppress(Exception):
                    shown, told = _show(label, moment, shown), moment
        if shown and latest.moment and latest.moment.total:
            # programs say how far they are twice a second, so the last thing heard may be long from the end
            end = replace(latest.moment, done=latest.moment.total) if latest.finished else latest.moment
            with suppress(Exception):
                _show(label, end, shown)

    thread = threading.Thread(target=copy_context().run, args=(follow,), daemon=True)
    thread.start()
    try:
        with watched(see):
            yield
        latest.finished = True
    finally:
        over.set()
        thread.join(FAREWELL_S)


def _show(label: str, moment: Moment, shown: Any) -> Any:
    """Make the artifact, or move the one that was made. Returns its id. Work of unknown length has none."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    assert moment.total
    percent = min(100.0, 100 * moment.done / moment.total)
    note = f", {moment.note}" if moment.note else ""
    told = f"{label}: {moment.label}, {moment.done:,.0f} of {moment.total:,.0f} {moment.unit}{note}"
    if shown is None:
        key = "progress-" + re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        return create_progress_artifact(percent, key=key, description=told)
    update_progress_artifact(shown, percent, description=told)
    return shown
