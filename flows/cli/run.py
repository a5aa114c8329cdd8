"""`gristmill run`: a flow, here and now, with its table of results at the end."""

import errno
import logging
import os
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.cli import workspace
from flows.cli.plan import make_plan
from flows.cli.servers import ServerUnavailable, ensure_servers
from flows.pipeline import FLOWS
from gristmill.addresses import without_secrets
from gristmill.config import PipelineConfig
from gristmill.schema import SourceUnavailable
from tasks.stage import Session, StageFailed, session

# faults of input, disk or servers speak for themselves; anything else is our own bug and shows where it happened
SPEAKING = (ValueError, OSError, RuntimeError, SourceUnavailable)


def run_flow(flow: str, config: PipelineConfig, config_name: str, *, refresh: frozenset[str]) -> int:
    """Run a flow under Prefect and MLflow, print its table, write last_run.json. Returns the exit code."""
    started = time.monotonic()
    root = workspace.root()
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
    name = f"{config_name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    running = Session(
        store=workspace.store(),
        planning=False,
        run=name,
        resources=config.resources,
        refresh=refresh,
        earlier=workspace.earlier_recipes(),
        warn=lambda text: print(f"note: {text}", file=sys.stderr),
        on_step=lambda step: print(_line(step), file=sys.stderr, flush=True),
    )
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _under_prefect(flow, config, config_name, running)
    except KeyboardInterrupt:
        _remember(summary(flow, config, config_name, running, time.monotonic() - started, error="interrupted"), root)
        print("\ninterrupted; finished stages are kept, the same command continues here", file=sys.stderr)
        return 130
    except Exception as error:
        _explain(error)
        failed = summary(
            flow, config, config_name, running, time.monotonic() - started, error=without_secrets(error)[:2000]
        )
        _remember(failed, root)
        return 1
    result = summary(flow, config, config_name, running, time.monotonic() - started)
    _remember(result, root)
    from flows.cli.results import show

    show(result, running, endpoints)
    return 0


def refusal(flow: str, config: PipelineConfig, refresh: frozenset[str]) -> str | None:
    """Why training cannot go on from the model that is named, by its licence or its vocabulary; known from the plan,
    hours before training is reached.

    Raises ValueError when the flow has stages that such a model cannot pass.
    """
    if config.model.start.kind == "scratch" and not config.model.is_masked:
        return None
    steps = make_plan(flow, config, refresh, warn=lambda text: None)  # the run itself will say it
    asked = ("open_model", "pretrain")
    return next(("; ".join(step.because) for step in steps if step.label in asked and step.state == "blocked"), None)


def _under_prefect(flow: str, config: PipelineConfig, config_name: str, running: Session) -> None:
    from prefect import flow as prefect_flow

    from tasks.data_report import publish_data_report
    from tasks.tracking import tracked_run

    logging.getLogger("prefect").setLevel(logging.INFO)

    def run(config_name: str, config: dict[str, Any]) -> None:
        with session(running), tracked_run(running.run, config_name, running.store):
            FLOWS[flow](parsed)
            publish_data_report(running)

    parsed = config
    runnable = prefect_flow(
        name=flow,
        flow_run_name=running.run,
        description=FLOWS[flow].__doc__,
        validate_parameters=False,
        persist_result=False,
    )(run)
    runnable(config_name=config_name, config=config.model_dump(mode="json"))


def _remember(result: dict[str, Any], root: Path) -> None:
    workspace.write_json(root / "runs" / f"{result['run']}.json", result)
    workspace.write_json(root / "last_run.json", result)


def summary(
    flow: str, config: PipelineConfig, config_name: str, done: Session, seconds: float, *, error: str | None = None
) -> dict[str, Any]:
    """last_run.json: the run for other programs. `error` is why it ended before its last stage."""
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
        from tasks.tracking import aliases_of

        name, version = registration["model"], registration["version"]
        model = {"name": name, "version": version, "aliases": aliases_of(name, version)}
    return {
        "schema_version": 1,
        "flow": flow,
        "config": config_name,
        "run": done.run,
        "error": error,
        "seconds": round(seconds, 1),
        "stages": stages,
        "scores": scores,
        "model": model,
        "prices": config.prices.model_dump(),
        # as they were for this run, for `forget`: a name of a configuration says neither its folder nor what --set said
        "opt_out_lists": config.filter.opt_out.places(),
    }


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
        traceback.print_exception(cause)
    print(f"gristmill: {where}{without_secrets(cause)}", file=sys.stderr)
    if getattr(cause, "errno", None) == errno.ENOSPC or "No space left" in str(cause):
        print(
            f"The disk is full. `gristmill artifacts gc` lists drafts in {workspace.root()} to delete.", file=sys.stderr
        )
    print("Finished stages are kept; the same command continues here.", file=sys.stderr)
