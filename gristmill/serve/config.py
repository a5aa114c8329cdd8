"""Under which name a model is registered."""

from pydantic import Field

from gristmill.schema import StageConfig


class RegisterConfig(StageConfig):
    """The registered model a run adds a version to."""

    model: str = Field(default="gristmill", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name in MLflow's registry; its versions compete for the alias `champion`."""
