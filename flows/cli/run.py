"""`gristmill run`: a flow, here and now, with its table of results at the end."""

import errno
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flows.cli import workspace
from flows.cli.liveness import alive
from flows.cli.patience import deliver_events_later, wait_for_prefect
from flows.cli.plan import make_plan
from flows.cli.servers import Endpoints, ServerUnavailable, ensure_servers, find_endpoints
from flows.pipeline import FLOWS
from gristmill.addresses import traceback_of, without_secrets
from gristmill.config import PipelineConfig
from gristmill.schema import SourceUnavailable
from tasks.run_report import publish_run_report, write_run_report
from tasks.stage import Session, StageFailed, session

# faults of input, disk or servers speak for themselves; anything else is our own bug and shows where it happened
SPEAKING = (ValueError, OSError, RuntimeError, SourceUnavailable)


def run_flow(flow: str, config: PipelineConfig, config_name: str, *, refresh: frozenset[str]) -> int:
    """Run a flow under Prefect and MLflow, print its table, write last_run.json. Returns the exit code."""
    try:
        endpoints = ensure_servers(workspace.home())
    except ServerUnavailable as error:
        print(f"gristmill: {error}", file=sys.stderr)
        return 1
    os.environ.update(endpoints.environment())
    # Prefect's own console log repeats what the table says; it stays complete in the UI
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if refused := refusal(flow, config, refresh):
        print(f"gristmill: nothing was run: {refused}", file=sys.stderr)
        return 1
    _prepare_server()
    running = new_session(f"{config_name}-{datetime.now(UTC):{workspace.STAMP}}", config, refresh)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with remembered(flow, config, config_name, running) as remember:
            _under_prefect(flow, config, config_name, running, remember)
    except KeyboardInterrupt:
        print("\ninterrupted; finished stages are kept, the same command continues here", file=sys.stderr)
        return 130
    except Exception as error:
        _explain(error)
        return 1
    show_results(running, endpoints)
    return 0


def new_session(name: str, config: PipelineConfig, refresh: frozenset[str]) -> Session:
    """A run of this name, which says on stderr how it goes on."""
    return Session(
        store=workspace.store(),
        planning=False,
        run=name,
        resources=config.resources,
        prices=config.prices,
        refresh=refresh,
        earlier=workspace.earlier_recipes(),
        warn=lambda text: print(f"note: {text}", file=sys.stderr),
        on_step=lambda step: print(_line(step), file=sys.stderr, flush=True),
    )


@contextmanager
def remembered(flow: str, config: PipelineConfig, config_name: str, running: Session) -> Iterator["Remember"]:
    """However the run in the block ends, `runs/`, last_run.json and its report say so.

    Gives what writes the record of the run so far, for reports that are made inside of the flow.
    """
    started = time.monotonic()
    has_told_failure = False

    def remember(error: BaseException | None = None) -> dict[str, Any]:
        nonlocal has_told_failure
        has_told_failure = error is not None
        result = summary(flow, config, config_name, running, time.monotonic() - started, error=error)
        root = workspace.root()
        workspace.write_json(root / "runs" / f"{running.run}.json", result)
        workspace.write_json(root / "last_run.json", result)
        return result

    with workspace.run_name(running.run) as running.run:
        try:
            yield remember
        except BaseException as error:
            if not has_told_failure:  # it did not come to the flow, which publishes the report, or failed after that
                write_run_report(running, remember(error), workspace.runs(before=running.run))
            raise


Remember = Callable[..., dict[str, Any]]


def work(flow: str, config: PipelineConfig, config_name: str, running: Session, remember: Remember) -> None:
    """What a flow run does, and its reports; call it inside a Prefect flow."""
    from prefect.runtime import flow_run

    from tasks.data_report import publish_data_report
    from tasks.tracking import tracked_run

    deliver_events_later()
    with (
        alive(workspace.home(), str(flow_run.get_id())),
        session(running),
        tracked_run(running.run, config_name, running.store),
    ):
        try:
            FLOWS[flow](config)
        except Exception as error:
            wait_for_prefect()
            publish_run_report(running, remember(error), workspace.runs(before=running.run))
            raise
        wait_for_prefect()
        publish_data_report(running)
        publish_run_report(running, remember(), workspace.runs(before=running.run))


def show_results(running: Session, endpoints: Endpoints | None = None) -> None:
    """The table of a finished run on stdout."""
    from flows.cli.results import show

    there = endpoints or find_endpoints(workspace.home())
    assert there, "a run has just talked to them"
    show(json.loads((running.store.root / "runs" / f"{running.run}.json").read_text()), running, there)


def refusal(flow: str, config: PipelineConfig, refresh: frozenset[str]) -> str | None:
    """Why training cannot go on from the model that is named, by its licence or its vocabulary; known from the plan,
    hours before training is reached.

    Raises ValueError when the flow has stages that such a model cannot pass, or none that the refresh names.
    """
    if config.model.start.kind == "scratch" and not config.model.is_masked and not refresh:
        return None
    steps = make_plan(flow, config, refresh, warn=lambda text: None)  # the run itself will say it
    asked = ("open_model", "pretrain")
    return next(("; ".join(step.because) for step in steps if step.label in asked and step.state == "blocked"), None)


def _prepare_server() -> None:
    """Close what earlier runs of this machine left running, and let the server watch over this one."""
    from flows.cli.automations import ensure_automations
    from flows.cli.liveness import sweep

    ensure_automations(ends_notices=False)
    for name in sweep(workspace.home()):
        print(f"note: {name} had no process any more and is closed as Crashed", file=sys.stderr)


def _under_prefect(flow: str, config: PipelineConfig, config_name: str, running: Session, remember: Remember) -> None:
    import httpx
    from prefect import flow as prefect_flow
    from prefect import tags
    from prefect.context import TagsContext

    from flows.cli.automations import TAG

    logging.getLogger("prefect").setLevel(logging.INFO)

    def run(config_name: str, config: dict[str, Any]) -> None:
        nonlocal failure
        try:
            with TagsContext():  # for each tag of a task Prefect asks its server for a slot before the task may begin
                work(flow, parsed, config_name, running, remember)
        except Exception as error:
            failure = error
            raise

    parsed, failure = config, None
    runnable = prefect_flow(
        name=flow,
        flow_run_name=running.run,
        description=FLOWS[flow].__doc__,
        validate_parameters=False,
        persist_result=False,
    )(run)
    with tags(TAG):  # the server's automations are for our runs alone
        try:
            runnable(config_name=config_name, config=config.model_dump(mode="json"))
        except httpx.TransportError as error:  # Prefect's client's; sources and MLflow have errors of their own
            where = os.environ["PREFECT_API_URL"]
            gone = ServerUnavailable(f"{where} has gone away ({error}); Prefect does not know how this run ended")
            raise failure or gone from error


def summary(
    flow: str,
    config: PipelineConfig,
    config_name: str,
    done: Session,
    seconds: float,
    *,
    error: BaseException | None = None,
) -> dict[str, Any]:
    """last_run.json: the run for other programs. `error` is why it ended before its last stage, `stopped` where."""
    stages = [
        {
            "stage": step.label,
            "state": step.state,
            "seconds": round(step.seconds, 2),
            "key": step.address,
            # of the build that made it, in this run or an earlier one
            "costs": step.record.costs.model_dump() if step.record and step.record.costs else None,
        }
        for step in done.steps
    ]
    scores = {
        step.label: step.report.metrics
        for step in done.steps
        if step.report and step.label.startswith(("evaluate", "sft", "reward_model", "align", "scaling", "ablation"))
    }
    registration = next((s.report.details for s in done.steps if s.label == "register" and s.report), None)
    model = None
    if registration and error is None:
        from tasks.registry import aliases_of

        name, version = registration["model"], registration["version"]
        model = {"name": name, "version": version, "aliases": aliases_of(name, version)}
    return {
        "schema_version": 1,
        "flow": flow,
        "config": config_name,
        "run": done.run,
        "error": _sentence(error),
        "stopped": {"stage": error.label, "key": error.address} if isinstance(error, StageFailed) else None,
        "seconds": round(seconds, 1),
        "stages": stages,
        "scores": scores,
        "model": model,
        "prices": config.prices.model_dump(),
        # as they were for this run, for `forget`: a name of a configuration says neither its folder nor what --set said
        "opt_out_lists": config.filter.opt_out.places(),
    }


def _sentence(error: BaseException | None) -> str | None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted"
    return None if error is None else (without_secrets(error) or type(error).__name__)[:2000]


def _line(step: Any) -> str:
    """One finished stage, as it is printed while the run goes on."""
    report = step.report
    counts = f", {report.rows_in:,} → {report.rows_out:,} {report.unit}" if report else ""
    return f"✓ {step.label}: {step.state} {step.address}{counts}, {step.seconds:.1f} s"


def _terminate(number: int, frame: Any) -> None:
    sys.exit(128 + number)


def _explain(error: Exception) -> None:
    cause = error.cause if isinstance(error, StageFailed) else error
    where = f"{error.label} stopped: " if isinstance(error, StageFailed) else ""
    if not isinstance(cause, SPEAKING):
        print(traceback_of(cause), end="", file=sys.stderr)
    print(f"gristmill: {where}{without_secrets(cause)}", file=sys.stderr)
    if getattr(cause, "errno", None) == errno.ENOSPC or "No space left" in str(cause):
        print(
            f"The disk is full. `gristmill artifacts gc` lists drafts in {workspace.root()} to delete.", file=sys.stderr
        )
    print("Finished stages are kept; the same command continues here.", file=sys.stderr)
