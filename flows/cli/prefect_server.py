"""`python -m flows.cli.prefect_server start …` is `prefect server start …` with three additions.

It answers to the host names in GRISTMILL_HOSTS (`127.0.0.1,localhost`) alone, where that is set. Prefect's own answers
to any, so a page that makes its name mean 127.0.0.1 could read runs and start them.

It closes runs of its machine whose process is gone, within SWEEP_EVERY_S: whoever started them, nobody else may be left
to do it. GRISTMILL_SWEEP names the server's own API; where it is not set, nothing is swept.

And schedules work on SQLAlchemy 2.1.

Prefect 3.8.8 inserts scheduled runs in bulk, with keys that SQLAlchemy 2.0 left alone because no column has their
name. 2.1 takes them for the hybrid properties they are called after, and refuses: no scheduled run is ever made. Added
here is the setter that 2.1 asks for, which leaves the keys alone as before. To be removed when Prefect has its own;
nothing changes on 2.0.
"""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from flows.cli import workspace

SWEEP_EVERY_S = 60.0


def main() -> None:
    """Entry point; the arguments are those of `prefect server`."""
    leave_hybrids_alone()
    if hosts := os.environ.get("GRISTMILL_HOSTS"):
        answer_only_to(hosts.split(","))
    if api := os.environ.get("GRISTMILL_SWEEP"):
        threading.Thread(target=_sweep_for_ever, args=(api,), daemon=True).start()
    from prefect.cli import app

    sys.argv = ["prefect", "server", *sys.argv[1:]]
    app()


def _sweep_for_ever(api: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.cli.liveness import sweep

    log, stopped = logging.getLogger("gristmill.sweep"), threading.Event()
    while not stopped.wait(SWEEP_EVERY_S):
        try:
            with temporary_settings({PREFECT_API_URL: api}):
                for name in sweep(workspace.home()):
                    log.warning("%s had no process any more: Crashed", name)
        except Exception:
            log.exception("could not look for dead runs; tried again in %.0f s", SWEEP_EVERY_S)


def answer_only_to(hosts: Sequence[str]) -> None:
    """Refuse what names another host, HTTP and WebSocket, with status 400."""
    from prefect.server.api import server
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    prefects = server.create_app

    def create_app(*arguments: Any, final: bool = False, **more: Any) -> Any:
        app = prefects(*arguments, final=final, **more)
        # the final one is served; parts of the server speak to `app` itself, by a name of their own
        return TrustedHostMiddleware(app, allowed_hosts=hosts, www_redirect=False) if final else app

    server.create_app = create_app


def leave_hybrids_alone() -> None:
    """Let bulk inserts of flow runs name hybrid properties, to no effect."""
    from prefect.server.database.orm_models import FlowRun
    from sqlalchemy.ext.hybrid import hybrid_property

    for descriptor in FlowRun.__mapper__.all_orm_descriptors:
        if isinstance(descriptor, hybrid_property) and getattr(descriptor, "bulk_dml_setter", True) is None:
            descriptor.bulk_dml_setter = _leave_alone


def _leave_alone(cls: Any, mapping: Any, value: Any) -> None:
    return None


if __name__ == "__main__":
    main()
