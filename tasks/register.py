"""The aligned model becomes a version of a registered model, with its lineage as tags."""

import json
from pathlib import Path

from gristmill.artifacts import Checkpoint, Evaluation, Registration
from gristmill.report import Report
from gristmill.serve.config import RegisterConfig
from gristmill.store import Record
from tasks import tracking
from tasks.stage import ancestors, current_session, stage


def _still_registered(record: Record, folder: Path) -> str | None:
    """What is wrong when the registry no longer has the version this artifact speaks of."""
    made = json.loads((folder / "registration.json").read_text())
    for version in tracking.model_versions(made["model"]):
        same = version["tags"].get("gristmill.artifact") == made["checkpoint"]
        if same and str(version["version"]) == made["version"]:
            return None
    return f"MLflow has no version {made['version']} of {made['model']} made from {made['checkpoint']}"


@stage(produces=Registration, version=1, check=_still_registered)
def register(out: Path, model: Checkpoint, evaluation: Evaluation, config: RegisterConfig) -> Report:
    """Log the model to MLflow's registry, if its licences are allowed, and point the alias `challenger` at it."""
    from gristmill.model.effective_license import allowed_license

    found = allowed_license(current_session().store, model.address, config.licenses)
    version = tracking.register_model(
        model, evaluation, name=config.model, lineage=ancestors(model.address), license=found
    )
    made = {"model": config.model, "version": version, "checkpoint": model.address, "evaluation": evaluation.address}
    (out / "registration.json").write_text(json.dumps(made, indent=2))
    return Report(rows_in=1, rows_out=1, unit="models", details={**made, "licenses": found.model_dump()})
