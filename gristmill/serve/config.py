"""Under which name a model is registered."""

from typing import Any

from pydantic import Field

from gristmill.model.open_models_config import LicensesConfig
from gristmill.schema import StageConfig


class RegisterConfig(StageConfig):
    """The registered model a run adds a version to."""

    model: str = Field(default="gristmill", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name in MLflow's registry; its versions compete for the alias `champion`."""
    licenses: LicensesConfig | None = None
    """Filled in by the pipeline: `licenses`."""

    def identity(self) -> dict[str, Any]:
        """Without `licenses`: they refuse, and decide nothing else."""
        return self.model_dump(mode="json", exclude={"licenses"})
