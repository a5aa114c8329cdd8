"""What Prefect's server does by itself: close our runs that fell silent, and tell people what happened.

GRISTMILL_WEBHOOK_URL names where failures, crashes and promotions are posted, as {"text": …}; where `schedule` or
`deploy` does not have it, that ends. An address in a private network is refused unless GRISTMILL_PRIVATE_NETWORKS
allows it. The server posts, so a public address is checked there too, at the moment of the connection: a name that
leads to a private one by then is refused.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

HEARTBEAT_EVERY_S = 60
SILENT_AFTER_S = 240
PREFIX = "gristmill: "
WEBHOOK_BLOCK = "gristmill-webhook"
NOTICES = ("tell of failures", "tell of promotions", "tell of challengers")
TAG = "gristmill"
"""Of every flow run that is ours; runs of others on the same server are left alone."""

_RUNS: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}
_OURS: dict[str, str | list[str]] = {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}


def ensure_automations(*, ends_notices: bool) -> None:
    """Bring the server's automations of gristmill to what this version and the environment say. Raises ConfigError.

    ends_notices: without GRISTMILL_WEBHOOK_URL nobody is told any more; else it stays as the server has it, since a run
    by hand in some shell says nothing about the schedule.
    """
    from prefect.client.orchestration import get_client

    webhook = _webhook()
    with get_client(sync_client=True) as client:
        for wanted in (_silent_runs(), *(_notifications(webhook) if webhook else ())):
            _ensure(client, wanted)
        if webhook is None and ends_notices:
            _end_notices(client)


def _end_notices(client: "SyncPrefectClient") -> None:
    """Delete the automations that post, and the block with the address."""
    from prefect.exceptions import ObjectNotFound

    for name in NOTICES:
        for there in client.read_automations_by_name(PREFIX + name):
            client.delete_automation(there.id)
    with suppress(ObjectNotFound):
        block = client.read_block_document_by_name(WEBHOOK_BLOCK, "webhook", include_secrets=False)
        client.delete_block_document(block.id)


def _ensure(client: "SyncPrefectClient", wanted: "AutomationCore") -> None:
    there = client.read_automations_by_name(wanted.name)
    if not there:
        client.create_automation(wanted)
    elif there[0].model_dump(include={"trigger", "actions"}) != wanted.model_dump(include={"trigger", "actions"}):
        client.update_automation(there[0].id, wanted)


def _silent_runs() -> "AutomationCore":
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    ends = ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed", "Cached", "RolledBack", "Paused", "Suspended")
    return AutomationCore(
        name=f"{PREFIX}close silent runs",
        description=f"A run that gave no sign of life for {SILENT_AFTER_S} s is closed as Crashed.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)},
            match=_RUNS,
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENT_AFTER_S),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                force=False,
                state=StateType.CRASHED,
                message=f"no sign of life for {SILENT_AFTER_S} s: its process, machine or network is gone",
            )
        ],
    )


def _notifications(webhook: UUID) -> "Iterator[AutomationCore]":
    from prefect.events.actions import CallWebhook
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    run = '{"text": {{ (flow_run.name ~ " " ~ flow_run.state.name ~ ": " ~ (flow_run.state.message or "")) | tojson }}}'
    failures = {"prefect.flow-run.Failed", "prefect.flow-run.TimedOut", "prefect.flow-run.Crashed"}
    waits = _sentence("passed the gate and waits for approval")
    told: tuple[tuple[set[str], dict[str, Any], str], ...] = (
        (failures, {"match": _RUNS, "match_related": _OURS}, run),
        # these are events of our own
        ({"gristmill.champion.moved"}, {}, _sentence("is champion now")),
        ({"gristmill.challenger.waits"}, {}, waits),
    )
    for name, (events, matching, payload) in zip(NOTICES, told, strict=True):
        yield AutomationCore(
            name=f"{PREFIX}{name}",
            trigger=EventTrigger(
                expect=events,
                **matching,
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[CallWebhook(block_document_id=webhook, payload=payload)],
        )


def _sentence(what: str) -> str:
    version = 'event.resource["prefect.resource.name"] ~ " version " ~ event.payload["version"]'
    return f'{{"text": {{{{ ({version} ~ " {what}") | tojson }}}}}}'


def _webhook() -> UUID | None:
    """The block on the server with the address to post to; None where the environment names none."""
    url = os.environ.get("GRISTMILL_WEBHOOK_URL")
    if not url:
        return None
    from prefect.blocks.webhook import Webhook
    from prefect.types import SecretDict
    from prefect.utilities.urls import validate_restricted_url
    from pydantic import SecretStr

    private = False
    try:
        validate_restricted_url(url)
    except ValueError:
        _require_allowed(url)
        private = True
    headers = SecretDict({"Content-Type": "application/json"})
    block = Webhook(url=SecretStr(url), headers=headers, allow_private_urls=private)
    return UUID(str(block.save(WEBHOOK_BLOCK, overwrite=True)))


def _require_allowed(url: str) -> None:
    """Raise ConfigError unless it is a web address in a private network that is allowed.

    The address may hold a token, so it is not repeated.
    """
    from gristmill.addresses import require_public

    parts = urlsplit(url)
    try:
        known = parts.scheme in ("http", "https") and socket.getaddrinfo(parts.hostname, None)
    except OSError:
        known = False
    if not known:
        raise ConfigError("GRISTMILL_WEBHOOK_URL is no http(s) address, or nobody knows its name; correct it")
    try:
        require_public(url)
    except ValueError as error:
        raise ConfigError(f"GRISTMILL_WEBHOOK_URL: {error}") from None
