"""The `gristmill` command. Results go to stdout, progress and notes to stderr.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 130 interrupted, 143 terminated.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

import gristmill
from flows.cli import workspace
from flows.cli.artifacts import app as artifacts
from flows.cli.backup import backup, restore
from flows.cli.classifier import app as classifier
from flows.cli.compare import compare
from flows.cli.estimate import app as estimate
from flows.cli.export import export
from flows.cli.forget import forget
from flows.cli.judge import judge
from flows.cli.profile import profile
from flows.cli.promote import promote
from flows.cli.report import app as report
from flows.cli.review import app as review
from flows.cli.schedule import deploy, schedule
from flows.cli.seen import seen
from flows.cli.tokenizer import app as tokenizer
from flows.cli.trace import trace
from gristmill.addresses import without_secrets
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.config import PipelineConfig

app = App(
    name="gristmill", help="From a web crawl to a registered, aligned language model.", version=gristmill.__version__
)
config_app = App(name="config", help="Look at configurations.")
for group in (report, artifacts, classifier, tokenizer, review, estimate, config_app):
    app.command(group)
for command in (trace, compare, forget, seen, profile, export, promote, judge, schedule, deploy, backup, restore):
    app.command(command)

FlowName = Literal["pipeline", "crawl", "data", "pretrain", "classify", "scaling", "ablation"]
Config = Annotated[
    str, Parameter(name=["--config", "-c"], help="A name from pipeline_configs/ or a path to a .yaml file.")
]
Overrides = Annotated[
    tuple[str, ...], Parameter(name="--set", negative="", help="Override one setting: a.b=value, as YAML.")
]
Refresh = Annotated[tuple[str, ...], Parameter(name="--refresh", negative="", help="Build this stage again.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


@app.command
def run(
    flow: FlowName = "pipeline",
    /,
    *,
    config: Config,
    overrides: Overrides = (),
    refresh: Refresh = (),
    plan: Annotated[Path | None, Parameter(help="Run only if this saved plan still holds.")] = None,
) -> int:
    """Run a flow here, now. Finished stages are reused."""
    parsed = workspace.load_config(config, overrides)
    name = workspace.config_path(config).stem
    if plan is not None and _moved(flow, parsed, name, refresh, plan):
        return 1
    from flows.cli.run import run_flow

    return run_flow(flow, parsed, name, refresh=workspace.check_stages(refresh))


def _moved(flow: str, parsed: "PipelineConfig", name: str, refresh: tuple[str, ...], saved: Path) -> bool:
    from flows.cli.plan import as_json, make_plan, what_moved

    moved = what_moved(saved, as_json(flow, parsed, name, make_plan(flow, parsed, workspace.check_stages(refresh))))
    for sentence in moved:
        print(sentence, file=sys.stderr)
    if moved:
        print(f"gristmill: nothing was run, because {saved} no longer holds; plan again", file=sys.stderr)
    return bool(moved)


@app.command
def plan(
    flow: FlowName = "pipeline",
    /,
    *,
    config: Config,
    overrides: Overrides = (),
    refresh: Refresh = (),
    out: Annotated[Path | None, Parameter(help="Save the plan for `run --plan`.")] = None,
    detailed_exitcode: Annotated[bool, Parameter(negative="", help="0 nothing to do, 2 something to build.")] = False,
    as_json: Json = False,
) -> int:
    """Say for each stage whether it is reused, would be built or is blocked, and why."""
    from flows.cli import plan as planning

    parsed = workspace.load_config(config, overrides)
    steps = planning.make_plan(flow, parsed, workspace.check_stages(refresh))
    made = planning.as_json(flow, parsed, workspace.config_path(config).stem, steps)
    if out:
        workspace.write_json(out, made)
    if as_json:
        print(json.dumps(made, indent=2))
    else:
        planning.show(made)
    states = {step.state for step in steps}
    if not detailed_exitcode:
        return 0
    return 1 if "blocked" in states else 2 if "build" in states else 0


@config_app.command
def show(*, config: Config, overrides: Overrides = (), as_json: Json = False) -> int:
    """Print the configuration with everything that is inherited and every default."""
    resolved = workspace.load_config(config, overrides).model_dump(mode="json", by_alias=True)
    if as_json:
        print(json.dumps({"schema_version": 1, "config": resolved}, indent=2))
        return 0
    from ruamel.yaml import YAML

    YAML(typ="safe").dump(resolved, sys.stdout)
    return 0


@app.command
def status(*, as_json: Json = False) -> int:
    """Show the last run: each stage, its state, seconds and artifact."""
    from flows.cli.results import show_status

    return show_status(workspace.root(), as_json=as_json)


@app.command
def costs(
    run: Annotated[str | None, Parameter(help="A run's name or its beginning; the last run when left out.")] = None,
    /,
    *,
    config: Annotated[str | None, Parameter(name=["--config", "-c"], help="Its prices, not the run's own.")] = None,
    overrides: Overrides = (),
    as_json: Json = False,
) -> int:
    """What a run used by stage: time, memory, bytes, energy, money, CO₂; and what the cache saved."""
    from flows.cli.costs import costs

    if overrides and config is None:
        raise ConfigError("--set needs the --config that it changes")
    prices = workspace.load_config(config, overrides).prices if config else None
    return costs(run, prices, as_json=as_json)


@app.command
def up() -> int:
    """Start gristmill's own Prefect and MLflow servers on this machine."""
    from flows.cli.servers import up

    return up(workspace.home())


@app.command
def down() -> int:
    """Stop the servers that gristmill started here, and nothing else."""
    from flows.cli.servers import down

    return down(workspace.home())


@app.command
def doctor(*, as_json: Json = False) -> int:
    """Check this machine, and say what to do about what is missing."""
    from flows.cli.doctor import doctor

    return doctor(workspace.home(), as_json)


@app.command
def chat(
    model: Annotated[str | None, Parameter(help="A checkpoint's address; the champion when left out.")] = None,
    /,
    *,
    prompt: Annotated[str | None, Parameter(help="Ask this once and leave.")] = None,
    name: Annotated[str, Parameter(help="The registered model whose champion answers.")] = "gristmill",
    max_new_tokens: int = 128,
    temperature: Annotated[float, Parameter(help="0: the likeliest token, always; above 0: drawn.")] = 0.0,
    top_k: Annotated[int | None, Parameter(help="Draw from this many likeliest tokens.")] = None,
    top_p: Annotated[float, Parameter(help="Draw from the likeliest tokens of this probability together.")] = 1.0,
    repetition_penalty: Annotated[float, Parameter(help="Above 1: what was said becomes less likely.")] = 1.0,
    stop: Annotated[tuple[str, ...], Parameter(negative="", help="Text that ends an answer; may be repeated.")] = (),
    seed: int = 0,
) -> int:
    """Talk to the champion, or to any checkpoint, in the terminal."""
    from flows.cli.chat import chat
    from gristmill.evaluate.sampling_config import Sampling

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty)
    return chat(model, name, prompt=prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, seed=seed)


def main() -> None:
    """Entry point: exceptions meant for the user become one sentence and an exit code."""
    try:
        code = app()
    except ConfigError as error:
        print(f"gristmill: {without_secrets(error)}", file=sys.stderr)
        code = 2
    except BrokenPipeError:
        # the reader, such as `head`, has seen enough; what is left in the buffer must not be tried again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except (ValueError, OSError, RuntimeError) as error:
        print(f"gristmill: {without_secrets(error)}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
