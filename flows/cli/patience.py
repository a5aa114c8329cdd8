"""How long a run waits for a Prefect server that has gone away: once, at its end, and not for ever.

Stages are built without the server; their events go out with the first one that reaches it again. Left to itself
Prefect's client tries whatever a run has to tell at its end (reports, logs, the last state) for a minute each, and each
event for seconds: a run whose server had died ended 330 s after it.
"""

import logging
import sys
import time

from flows.cli.servers import PREFECT, ServerUnavailable, check_named

PATIENCE_S = 120.0
ATTEMPTS = 3
"""To bring an event to the server: Prefect's client sleeps a second before each further one."""


def deliver_events_later() -> None:
    """What the server cannot take now does not hold up what follows; call it before the first event of a flow."""
    from prefect.events.clients import PrefectEventsClient
    from prefect.events.worker import EventsWorker, emit_events_to_cloud

    if not emit_events_to_cloud():  # Prefect Cloud has a client of its own
        logging.getLogger("prefect._internal.concurrency").setLevel(logging.CRITICAL)  # a line for each delayed event
        EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=ATTEMPTS)


def wait_for_prefect(patience_s: float = PATIENCE_S) -> None:
    """Return when Prefect's server answers. After `patience_s` its client tries each call once, in this process."""
    if _answers():
        return
    print(f"Prefect's server does not answer; waiting {patience_s:.0f} s for it", file=sys.stderr, flush=True)
    deadline = time.monotonic() + patience_s
    while not _answers():
        if time.monotonic() > deadline:
            _try_each_call_once()
            return
        time.sleep(1)
    _send_what_waited()


def _answers() -> bool:
    try:
        check_named(PREFECT)
    except ServerUnavailable:
        return False
    return True


def _try_each_call_once() -> None:
    from prefect.settings import get_current_settings

    get_current_settings().client.max_retries = 0


def _send_what_waited() -> None:
    """An event of no further meaning, with which those go out that found no server."""
    from prefect.events import emit_event

    emit_event("gristmill.prefect.back", resource={"prefect.resource.id": "gristmill.run"})
