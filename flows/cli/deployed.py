"""The flows that Prefect starts: by a schedule, by an event, or by a person in its UI.

Each run is a process of its own, which this module is imported in. What a run does is what `gristmill run` does.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from flows.cli import maintenance as upkeep
from flows.cli import workspace
from flows.cli.deployments import MaintenanceSettings, PromoteSettings, RunSettings
from gristmill.addresses import without_secrets


def run_name() -> str:
    """Configuration and date, as runs started by hand are called."""
    settings = flow_run.get_parameters().get("settings") or {}
    config = settings.config if isinstance(settings, RunSettings) else settings.get("config", "run")
    return f"{Path(config).stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@flow(name="crawl", flow_run_name=run_name, persist_result=False)
def crawl(settings: RunSettings) -> None:
    """Bring what is new, clean it, deduplicate it against all earlier nights, and mix it with them."""
    _run("crawl", settings)


@flow(name="data", flow_run_name=run_name, persist_result=False)
def data(settings: RunSettings) -> None:
    """From sources to packed tokens."""
    _run("data", settings)


@flow(name="pretrain", flow_run_name=run_name, persist_result=False)
def pretrain(settings: RunSettings) -> None:
    """From sources to a base model."""
    _run("pretrain", settings)


@flow(name="pipeline", flow_run_name=run_name, persist_result=False)
def pipeline(settings: RunSettings) -> None:
    """From sources to a registered model that was promoted only if it is better."""
    _run("pipeline", settings)


def _run(name: str, settings: RunSettings) -> None:
    from flows.cli.run import new_session, refusal, remembered, show_results, work

    log = get_run_logger()
    config = workspace.load_config(settings.config, settings.overrides)
    refresh = workspace.check_stages(settings.refresh)
    stem = workspace.config_path(settings.config).stem

    def attempt() -> None:
        if refused := refusal(name, config, refresh):
            raise ValueError(f"nothing was run: {refused}")
        run = new_session(str(flow_run.get_name()), config, refresh)
        with remembered(name, config, stem, run) as remember:
            work(name, config, stem, run, remember)
        show_results(run)

    patiently(attempt, settings.retry_after_s, say=log.warning)


def patiently(attempt: Callable[[], None], pauses_s: Sequence[float], *, say: Callable[[str], object]) -> None:
    """Try again after each pause for as long as a retry can help; what was finished is not built again.

    Raises what the last attempt raised, at once where a retry cannot help.
    """
    for pause_s in pauses_s:
        try:
            return attempt()
        except Exception as error:
            if not is_passing(error):
                raise
            say(f"{without_secrets(error)}; tried again in {pause_s:g} s")
        time.sleep(pause_s)
    return attempt()


def is_passing(error: BaseException) -> bool:
    """Whether it may be gone by itself in a while: something did not answer, or said that it cannot just now.

    A full disk, a wrong value, an artifact, file or key that is not here, a server that refuses are not.
    """
    import httpx

    from gristmill.errors import NotHere, SourceUnavailable, StoreUnavailable
    from tasks.tracking import PASSING, MlflowFailed

    cause = getattr(error, "cause", None) or error.__cause__
    if isinstance(error, NotHere):
        return False
    if isinstance(error, MlflowFailed):
        return error.status in PASSING
    away = (SourceUnavailable, StoreUnavailable, ConnectionError, TimeoutError, httpx.TransportError)
    if isinstance(error, away):
        return True
    return cause is not None and is_passing(cause)


class Approval(RunInput):
    """Who lets the challenger become champion."""

    by: str = Field(min_length=1, description="Your name, for the record.")
    approve: bool = Field(description="Off: the challenger stays what it is.")


@flow(name="promote", flow_run_name="promote-{settings.model}-{settings.version}", persist_result=False)
def promote(settings: PromoteSettings) -> None:
    """Let a challenger that passed the gate become champion, when a person says so."""
    from prefect.flow_runs import suspend_flow_run

    from flows.cli.scope import use_own_servers
    from gristmill.promotion import aliases
    from gristmill.promotion.journal import Journal
    from tasks.promote import announce
    from tasks.registry import Registry

    use_own_servers()
    by = settings.by
    if by is None:
        told = f"Version {settings.version} of {settings.model} passed the gate. May it become champion?"
        asked = Approval.with_initial_data(description=told, approve=False)
        # not paused, which would keep a process and one of `runs_at_once` for as long as it waits
        answer = suspend_flow_run(wait_for_input=asked, timeout=settings.wait_s)
        if not answer.approve:
            get_run_logger().info(f"{answer.by} left version {settings.version} of {settings.model} as it is")
            return
        by = answer.by
    journal = Journal(workspace.root(), settings.model)
    aliases.approve(Registry(), journal, settings.version, by=by)
    announce({"model": settings.model, "version": settings.version, "by": by})


@flow(name="maintenance", flow_run_name=lambda: f"maintenance-{datetime.now(UTC):%Y%m%d-%H%M%S}", persist_result=False)
def maintenance(settings: MaintenanceSettings) -> None:
    """Close dead runs, delete what nothing needs, hash everything, back up."""
    upkeep.maintain(settings)
