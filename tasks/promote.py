"""The alias `champion` moves when the gate passes, and only then."""

import json
from pathlib import Path
from typing import Any

from gristmill.artifacts import Evaluation, Promotion, Registration
from gristmill.promotion.config import PromoteConfig
from gristmill.report import Report
from gristmill.store import Record
from tasks import registry
from tasks.stage import current_session, stage


def _alias_still_points_there(record: Record, folder: Path) -> str | None:
    """What is wrong when `champion` is no longer, or is by now, this promotion's version."""
    made = json.loads((folder / "promotion.json").read_text())
    if made["state"] == "failed":
        return None
    champion = registry.version_by_alias(made["model"], "champion")
    is_champion = champion is not None and str(champion["version"]) == made["version"]
    if made["promoted"] and not is_champion:
        points_to = f"version {champion['version']}" if champion else "nothing"
        return (
            f"champion of {made['model']} points to {points_to}, this promotion moved it to version {made['version']}"
        )
    if is_champion and not made["promoted"]:
        return f"version {made['version']} of {made['model']}, which was {made['state']}, was approved since"
    return None


@stage(produces=Promotion, version=2, check=_alias_still_points_there)
def promote(
    out: Path,
    registration: Registration,
    evaluation: Evaluation,
    champion: Evaluation | None,
    over: str | None,
    config: PromoteConfig,
) -> Report:
    """Judge the challenger by recorded numbers against `over`, the champion's checkpoint (None when there is none)."""
    from gristmill.promotion.decide import decide

    challenger = json.loads((registration.path / "registration.json").read_text())
    evaluations = [evaluation.address, *([champion.address] if champion else [])]
    store = current_session().store
    made = decide(store, registry.Registry(), challenger, evaluations, over=over, config=config)
    (out / "promotion.json").write_text(json.dumps(made, indent=2))
    if made["promoted"]:
        announce(made)
    elif made["state"] == "awaiting approval":
        announce(made, "gristmill.challenger.waits")
    return Report(rows_in=1, rows_out=int(made["promoted"]), unit="models", details=made)


def announce(made: dict[str, Any], event: str = "gristmill.champion.moved") -> None:
    """An event that Prefect's automations wait for: to tell people, to ask for approval, to deploy the new champion."""
    from prefect.events import emit_event

    emit_event(
        event=event,
        resource={"prefect.resource.id": f"gristmill.model.{made['model']}", "prefect.resource.name": made["model"]},
        payload={name: made[name] for name in ("version", "checkpoint", "over", "rules", "by") if name in made},
    )
