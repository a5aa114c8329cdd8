"""An open model as a checkpoint of this store: what a run starts from."""

from pathlib import Path

from gristmill.artifacts import Checkpoint
from gristmill.model.open_models_config import OpenModelConfig, license_facts, license_fault
from gristmill.report import Report
from tasks.stage import stage


@stage(produces=Checkpoint, version=1, refuses=license_fault, notes=license_facts)
def open_model(out: Path, config: OpenModelConfig) -> Report:
    """Import the model that `model.start` names, if its licence is allowed."""
    from gristmill.model.open_models import run_open_model

    return run_open_model(out, config)
