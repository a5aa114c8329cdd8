"""`gristmill forget`: opt a domain, a URL or a text out, and list everything that was built with it."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli import workspace
from flows.cli.scope import use_own_servers
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.forget import Holdings

SCHEMA_VERSION = 1


def forget(
    *,
    domain: Annotated[tuple[str, ...], Parameter(negative="", help="A host, with its subdomains.")] = (),
    url: Annotated[tuple[str, ...], Parameter(negative="", help="One page, in any spelling of its URL.")] = (),
    hash_: Annotated[
        tuple[str, ...],
        Parameter(name="--hash", negative="", help="`text_hash` of a document: the text wherever it is."),
    ] = (),
    reason: Annotated[str, Parameter(help="Written beside the entry.")] = "",
    opt_out_list: Annotated[
        Path | None, Parameter(name="--list", help="The opt-out list; default: the configuration's first.")
    ] = None,
    config: Annotated[
        str | None, Parameter(name=["--config", "-c"], help="Whose opt-out list; the last run's when left out.")
    ] = None,
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", negative="", help="As for `run`.")] = (),
    dry_run: Annotated[bool, Parameter(negative="", help="List what holds it; write nothing.")] = False,
    yes: Annotated[bool, Parameter(negative="", help="Add to the list without asking.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")] = False,
) -> int:
    """Add to the opt-out list, and name every artifact and registered model that was built with such pages."""
    from gristmill.forget import Forgotten, add_to_list, holdings

    forgotten = Forgotten.parse(domain, url, hash_)
    path = None if dry_run else _list(opt_out_list, config, overrides)
    if path and not yes and (as_json or not sys.stdin.isatty()):
        raise ConfigError("nothing was looked up or written: give --yes to add to the list, or --dry-run to look only")
    held = holdings(workspace.store(), forgotten)
    models, registry_fault = _models(held)
    if not as_json:
        _show(held, models, registry_fault)
    entries = list(forgotten.entries)
    if path and not yes and not _confirmed(entries, path):
        print("nothing was written", file=sys.stderr)
        return 1
    added = add_to_list(path, entries, note=f"{datetime.now(UTC):%Y-%m-%d} {reason}") if path else []
    if as_json:
        print(json.dumps(_as_json(held, models, registry_fault, entries, path, added), indent=2))
    elif path is None:
        print("nothing was written (--dry-run)")
    elif added:
        print(f"added to {path}: {', '.join(added)}")
        print(
            "the next run with this list builds `filter` (with `nights`: `mix`) and what follows without them; "
            "what is listed above stays"
        )
    else:
        print(f"{path} has {', '.join(entries)} already")
    return 0


def _list(given: Path | None, config: str | None, overrides: tuple[str, ...]) -> Path:
    """The list to write to. Raises ConfigError when no configuration names one on this disk."""
    if given:
        return given.absolute()
    if config:
        whose, places = f"configuration {config}", workspace.load_config(config, overrides).filter.opt_out.places()
    elif overrides:
        raise ConfigError("--set changes a configuration: give --config too, or --list FILE")
    else:
        whose, places = _last_run()
    local = [place for place in places if "://" not in place]
    if not local:
        raise ConfigError(
            f"{whose} names no opt-out list on this disk; set filter.opt_out.lists: [opt_out.txt] in it, "
            "or give --list FILE"
        )
    path = Path(local[0])
    if not path.is_file():  # another folder's opt_out.txt, most likely: an entry there would leave nobody out
        raise ConfigError(f"there is no {path}, which {whose} names; make an empty file there, or give --list FILE")
    return path


def _last_run() -> tuple[str, list[str]]:
    """How the last run is called, and its opt-out lists."""
    path = workspace.root() / "last_run.json"
    if not path.exists():
        raise ConfigError("no run has finished yet, so there is no configuration to ask; give --config or --list FILE")
    last = json.loads(path.read_text())
    return f"the last run ({last['run']})", last.get("opt_out_lists", [])


def _models(held: "Holdings") -> tuple[list[dict[str, Any]], str | None]:
    """Registered versions of the checkpoints that hold forgotten pages; and why the registry could not be asked."""
    from gristmill.errors import SourceUnavailable

    checkpoints = {each.artifact: each.total for each in held.found if each.kind == "checkpoint"}
    try:
        from tasks.registry import aliases_of, all_versions

        use_own_servers()
        registered = [
            {"model": version["name"], "version": str(version["version"]), "checkpoint": artifact}
            for version in all_versions()
            if (artifact := version["tags"].get("gristmill.artifact")) in checkpoints
        ]
        for each in registered:
            each["aliases"] = aliases_of(each["model"], each["version"])
        fault = None
    except SourceUnavailable as error:
        registered, fault = _registrations(held), str(error)
    return [each | {"pages": checkpoints.get(each["checkpoint"], 0)} for each in registered], fault


def _registrations(held: "Holdings") -> list[dict[str, Any]]:
    """What the store itself knows of the registry."""
    found = []
    for each in held.found:
        if each.kind == "registration":
            made = json.loads(workspace.store().file(each.artifact, "registration.json").read_text())
            found.append({name: made[name] for name in ("model", "version", "checkpoint")} | {"aliases": None})
    return found


def _confirmed(entries: list[str], path: Path) -> bool:
    print(f"\nadd {', '.join(entries)} to {path}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(held: "Holdings", models: list[dict[str, Any]], registry_fault: str | None) -> None:
    from rich.table import Table

    from flows.cli.results import wide_console

    print(f"{held.pages:,} pages match in {workspace.store()}")
    if held.copies:
        print(f"{held.copies:,} other pages have a text of the same words; --hash with their text_hash reaches them")
    if held.found:
        table = Table("artifact", "stage", "pages in it", "run", box=None, header_style="bold", pad_edge=False)
        for each in held.found:
            parts = ", ".join(f"{part} {count:,}".strip() for part, count in each.pages.items())
            table.add_row(each.artifact, each.label.replace("[", "\\["), parts, each.run)
        wide_console().print(table)
    for model in models:
        aliases = f" ({', '.join(model['aliases'])})" if model["aliases"] else ""
        print(f"registered model {model['model']} version {model['version']}{aliases}: {model['checkpoint']}")
    if registry_fault:
        print(
            f"note: the registry was not asked, models are those this store registered: {registry_fault}",
            file=sys.stderr,
        )
    if held.found and not models:
        print("no registered model was built with them" + (", as far as this store knows" if registry_fault else ""))
    for artifact, why in held.unknown.items():
        print(f"note: {artifact} was not looked into: {why}", file=sys.stderr)


def _as_json(
    held: "Holdings",
    models: list[dict[str, Any]],
    registry_fault: str | None,
    entries: list[str],
    path: Path | None,
    added: list[str],
) -> dict[str, Any]:
    artifacts = [
        {"artifact": each.artifact, "stage": each.label, "run": each.run, "pages": each.total, "parts": each.pages}
        for each in held.found
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "entries": entries,
        "list": str(path) if path else None,
        "added": added,
        "pages": held.pages,
        "copies_elsewhere": held.copies,
        "artifacts": artifacts,
        "not_looked_into": held.unknown,
        "models": models,
        "registry_fault": registry_fault,
    }
