"""How `champion` and `previous` move: consistent whatever fails in between.

A registry has no transactions. So a move is written to the journal before it begins, `previous` is set before
`champion`, and `champion` is the move: where it points says whether the move took place. `settle` finishes or undoes
what was cut off; it runs before every move, and as `gristmill promote --repair`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from gristmill.promotion.journal import Entry, Journal

CHAMPION, PREVIOUS = "champion", "previous"
ARTIFACT = "gristmill.artifact"
PROMOTED_OVER = "gristmill.promoted_over"
ROLLED_BACK = "gristmill.rolled_back"
APPROVED_BY = "gristmill.approved_by"

State = Literal["promoted", "rolled back"]
Tag = tuple[str, str, str]
"""Version, key, value."""


class Registry(Protocol):
    """What a registry of models can do; tasks/registry.py has MLflow's."""

    def aliases(self, model: str) -> dict[str, str]:
        """Alias → version; empty when there is no such model."""
        ...

    def tags(self, model: str, version: str) -> dict[str, str]:
        """The version's tags."""
        ...

    def point(self, model: str, alias: str, version: str | None) -> None:
        """Let the alias point to a version, or to nothing."""
        ...

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Write a tag of a version."""
        ...


def promote(
    registry: Registry, journal: Journal, challenger: Mapping[str, str], *, over: str | None, by: str | None = None
) -> State:
    """Point `champion` at the challenger's version, `previous` at the old champion.

    over: the champion's checkpoint that the challenger was judged against. by: who approved it. A version that was
    rolled back returns only when somebody approves it. Raises RuntimeError when the champion is another one by now or
    one that gristmill did not register, or when the registry fails.
    """
    version = challenger["version"]
    with journal.held():
        settle(registry, journal)
        aliases = registry.aliases(journal.model)
        champion = aliases.get(CHAMPION)
        of_champion = registry.tags(journal.model, champion) if champion else {}
        if champion and not of_champion.get(ARTIFACT):
            raise RuntimeError(unknown_champion(journal.model, champion))
        is_champion = of_champion.get(ARTIFACT) == challenger["checkpoint"]
        beaten = of_champion.get(PROMOTED_OVER if is_champion else ARTIFACT) or None
        if beaten != over:
            raise RuntimeError(
                f"the champion of {journal.model} moved from {over} to {beaten} after this model was judged; run the "
                "pipeline again"
            )
        if is_champion:
            return "promoted"
        if by is None and registry.tags(journal.model, version).get(ROLLED_BACK):
            return "rolled back"
        first = [(version, PROMOTED_OVER, over or ""), *([(version, APPROVED_BY, by)] if by else [])]
        _move(
            registry,
            journal,
            "promote",
            aliases,
            {CHAMPION: version, PREVIOUS: champion},
            first=first,
            last=[(version, ROLLED_BACK, "")],
            by=by,
        )
        return "promoted"


def approve(registry: Registry, journal: Journal, version: str, *, by: str) -> None:
    """Promote a version that passed the gate and waits. Raises ValueError when it did not pass."""
    judged = [entry for entry in journal.read() if entry["event"] == "judged" and entry["version"] == version]
    if not judged:
        raise ValueError(f"no gate has judged version {version} of {journal.model} here; `--history` lists what was")
    latest = judged[-1]
    if not latest["passed"]:
        failed = "; ".join(rule["says"] for rule in latest["rules"] if not rule["passed"])
        raise ValueError(f"version {version} of {journal.model} did not pass the gate: {failed}")
    promote(registry, journal, latest, over=latest["over"], by=by)


def roll_back(registry: Registry, journal: Journal, *, by: str) -> str:
    """Swap `champion` and `previous`. Returns the champion of now. Raises ValueError where there is no previous."""
    with journal.held():
        settle(registry, journal)
        aliases = registry.aliases(journal.model)
        champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if champion is None or previous is None or champion == previous:
            raise ValueError(
                f"{journal.model} has champion {champion or 'nothing'} and previous {previous or 'nothing'}; there is "
                "no earlier champion to bring back"
            )
        _move(
            registry,
            journal,
            "roll back",
            aliases,
            {CHAMPION: previous, PREVIOUS: champion},
            last=[(champion, ROLLED_BACK, f"by {by}"), (previous, ROLLED_BACK, "")],
            by=by,
        )
        return previous


def unknown_champion(model: str, version: str) -> str:
    """What is said of a champion that somebody else put there."""
    return (
        f"champion of {model} is version {version}, which has no tag {ARTIFACT}: gristmill did not register it, so "
        "nothing can be compared with it; let the alias point to a version that gristmill registered, or remove it"
    )


def settle(registry: Registry, journal: Journal) -> list[str]:
    """Finish or undo moves that were cut off. Returns a sentence for each.

    Raises RuntimeError when the registry fails again.
    """
    said = []
    for move in unfinished(journal.read()):
        with _explained(journal):
            champion = registry.aliases(journal.model).get(CHAMPION)
            if champion == move["after"][CHAMPION]:
                _apply(registry, journal.model, move)
                outcome = "finished"
            elif champion == move["before"][CHAMPION]:
                _point(registry, journal.model, PREVIOUS, move["before"][PREVIOUS])
                outcome = "undone"
            else:
                outcome = "left alone"  # somebody moved it since, and knew better
        journal.append(outcome, move=move["id"])
        said.append(f"the move of champion to version {move['after'][CHAMPION]} that was cut off is {outcome}")
    return said


def unfinished(entries: Sequence[Entry]) -> list[Entry]:
    """Moves that began and have no end."""
    ended = {entry["move"] for entry in entries if "move" in entry}
    return [entry for entry in entries if entry["event"] == "begin" and entry["id"] not in ended]


def _move(
    registry: Registry,
    journal: Journal,
    why: str,
    aliases: Mapping[str, str],
    after: Mapping[str, str | None],
    *,
    first: Sequence[Tag] = (),
    last: Sequence[Tag] = (),
    by: str | None,
) -> None:
    before = {alias: aliases.get(alias) for alias in (CHAMPION, PREVIOUS)}
    facts: dict[str, Any] = {"why": why, "version": after[CHAMPION], "by": by, "before": before, "after": dict(after)}
    move = journal.append("begin", **facts, first=list(first), last=list(last))
    with _explained(journal):
        _apply(registry, journal.model, move)
    journal.append("done", move=move["id"])


def _apply(registry: Registry, model: str, move: Entry) -> None:
    """All of a move; what was written before is written again, with the same result."""
    for version, key, value in move["first"]:
        registry.tag(model, version, key, value)
    _point(registry, model, PREVIOUS, move["after"][PREVIOUS])
    _point(registry, model, CHAMPION, move["after"][CHAMPION])
    for version, key, value in move["last"]:
        if value or key in registry.tags(model, version):
            registry.tag(model, version, key, value)


def _point(registry: Registry, model: str, alias: str, version: str | None) -> None:
    if registry.aliases(model).get(alias) != version:
        registry.point(model, alias, version)


@contextmanager
def _explained(journal: Journal) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise RuntimeError(
            f"the registry failed while champion of {journal.model} moved ({said}); the next promotion finishes or "
            "undoes it, and so does `gristmill promote --repair`"
        ) from error
