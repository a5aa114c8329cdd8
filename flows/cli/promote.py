"""`gristmill promote`: what a person does about the champion, beside the gate; and who did what."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli import workspace
from flows.cli.scope import use_own_servers
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.promotion.journal import Journal


def promote(
    *,
    name: Annotated[str, Parameter(help="The registered model.")] = "gristmill",
    history: Annotated[bool, Parameter(negative="", help="Who decided what, when, on which numbers.")] = False,
    approve: Annotated[str | None, Parameter(help="Promote this version, which passed the gate and waits.")] = None,
    rollback: Annotated[bool, Parameter(negative="", help="Swap champion and previous.")] = False,
    repair: Annotated[bool, Parameter(negative="", help="Finish or undo a move that was cut off.")] = False,
    by: Annotated[str | None, Parameter(help="Your name, for the record; --approve and --rollback need it.")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="The history as JSON.")] = False,
) -> int:
    """Approve a model that passed the gate, roll a champion back, repair, or look at the record."""
    from gristmill.promotion.journal import Journal

    if sum((history, approve is not None, rollback, repair)) != 1:
        raise ConfigError("promote: give one of --history, --approve VERSION, --rollback and --repair")
    journal = Journal(workspace.root(), name)
    if history:
        return _show(journal, as_json=as_json)
    if not repair and not (by or "").strip():
        raise ConfigError("promote: --approve and --rollback are recorded with a person's name; add --by NAME")
    for sentence in _decided(journal, approve=approve, rollback=rollback, by=by or ""):
        print(sentence)
    return 0


def _decided(journal: "Journal", *, approve: str | None, rollback: bool, by: str) -> list[str]:
    """What was done, in sentences."""
    use_own_servers()
    from gristmill.promotion import aliases
    from tasks.registry import Registry

    mlflow = Registry()
    if approve is not None:
        aliases.approve(mlflow, journal, approve, by=by)
        _tell(journal.model, approve, by)
        return [f"version {approve} is champion of {journal.model}"]
    if rollback:
        version = aliases.roll_back(mlflow, journal, by=by)
        _tell(journal.model, version, by)
        return [f"version {version} is champion of {journal.model} again"]
    with journal.held():
        settled = aliases.settle(mlflow, journal)
        champion = mlflow.aliases(journal.model).get(aliases.CHAMPION) if settled else None
    if champion:
        _tell(journal.model, champion, by)
    return settled or [f"no move of {journal.model}'s champion was cut off"]


def _tell(model: str, version: str, by: str) -> None:
    """As the gate tells of a champion: people, and what deploys it, learn of a person's decision too."""
    from prefect.settings import get_current_settings

    from flows.cli.patience import deliver_events_later
    from tasks.promote import announce

    if not get_current_settings().api.url:
        print("note: no Prefect server is named or runs, so nobody was told", file=sys.stderr)
        return
    deliver_events_later()
    announce({"model": model, "version": version, **({"by": by} if by else {})})


def _show(journal: "Journal", *, as_json: bool) -> int:
    entries = journal.read()
    if as_json:
        print(json.dumps({"schema_version": 1, "model": journal.model, "entries": entries}, indent=2))
        return 0
    for entry in entries:
        print(f"{entry['at']}  {_sentence(entry, entries)}")
        for rule in entry.get("rules", []):
            print(f"    {'✓' if rule['passed'] else '✗'} {rule['says']}")
    if not entries:
        print(f"nothing was decided about {journal.model} with this store", file=sys.stderr)
    return 0


def _sentence(entry: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    if entry["event"] == "judged":
        over = f"over {entry['over']}" if entry["over"] else "no champion before it"
        outcome = "passed" if entry["passed"] else "did not pass"
        waits = ", and needs approval" if entry["passed"] and entry["approval"] == "required" else ""
        return f"version {entry['version']} ({entry['checkpoint']}, {over}) {outcome} the gate{waits}"
    if entry["event"] == "begin":
        before = entry["before"]["champion"]
        came_from = f"version {before}" if before else "nothing"
        return f"{entry['why']} by {entry['by'] or 'the gate'}: champion from {came_from} to version {entry['version']}"
    move = next((each for each in entries if each["id"] == entry["move"]), None)
    return f"{entry['event']}: {move['why']} of version {move['version']}" if move else entry["event"]
