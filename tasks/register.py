"""The aligned model becomes a version of a registered model, with its lineage as tags."""

import json
from pathlib import Path

from gristmill.artifacts import Checkpoint, Evaluation, Registration
from gristmill.report import Report
from gristmill.serve.config import RegisterConfig
from gristmill.store import Record
from tasks import registry
from tasks.stage import current_session, stage


def _still_registered(record: Record, folder: Path) -> str | None:
    """What is wrong when the registry no longer has the version this artifact speaks of."""
    made = json.loads((folder / "registration.json").read_text())
    for version in registry.model_versions(made["model"]):
        same = version["tags"].get("gristmill.artifact") == made["checkpoint"]
        if same and str(version["version"]) == made["version"]:
            return None
    return f"MLflow has no version {made['version']} of {made['model']} made from {made['checkpoint']}"


@stage(produces=Registration, version=2, check=_still_registered)
def register(out: Path, model: Checkpoint, evaluation: Evaluation, config: RegisterConfig) -> Report:
    """Log the model with its cards to MLflow's registry, if its licences are allowed, and point `challenger` at it."""
    from gristmill.cards.cards import make_cards
    from gristmill.model.effective_license import allowed_license

    here = current_session()
    found = allowed_license(here.store, model.address, config.licenses)
    cards = make_cards(here.store, model.address, evaluation.address, name=config.model, prices=here.prices)
    cards = cards.with_tags(found.tags)
    cards.write(out)
    version = registry.register_model(model, cards, name=config.model)
    made = {"model": config.model, "version": version, "checkpoint": model.address, "evaluation": evaluation.address}
    (out / "registration.json").write_text(json.dumps(made, indent=2))
    return Report(rows_in=1, rows_out=1, unit="models", details={**made, "licenses": found.model_dump()})
