"""Which open model a run starts from, and under which licences it may."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from gristmill.model.config import OpenStart
from gristmill.schema import Schema, StageConfig
from gristmill.store import ArtifactStore, Recipe


class LicensesConfig(Schema):
    """Under which licences a run may start from an open model, and a model may be registered."""

    allow: list[str] = Field(
        default=["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0", "CC-BY-4.0"], min_length=1
    )
    """Of the model to start from, and of those that answered or judged: SPDX ids, or a hub's own names such as
    `llama3.2`; `unknown` for a model that states none."""
    allow_data: list[str] | None = None
    """Of training texts, as their sources state them; null: any, and they are listed with the registered model."""
    generators: dict[str, str] = {}
    """Name of a model that judges or writes, as its configuration has it → its licence: an endpoint does not state it.
    A model folder's is read from the folder; one that states none is named by the digest that a refusal tells."""


class OpenModelConfig(StageConfig):
    """Make an open model a checkpoint of this store."""

    source: OpenStart
    """Where it is: `model.start`."""
    licenses: LicensesConfig = LicensesConfig()
    """What is allowed; refuses, and decides nothing else."""

    def identity(self) -> dict[str, Any]:
        """The model's content and stated licence, wherever it lies.

        Raises SourceUnavailable when it cannot be looked at, ValueError when it is no model.
        """
        from gristmill.model.open_sources import located

        found = located(self.source)
        return {"content": found.content, "license": found.license}


def license_fault(store: ArtifactStore, planned: Mapping[str, Recipe], arguments: Mapping[str, Any]) -> str | None:
    """Why a run may not start from this model; None where its licence is allowed. What `@stage(refuses=…)` asks."""
    from gristmill.model.licenses import UNKNOWN, is_allowed
    from gristmill.model.open_sources import located

    config: OpenModelConfig = arguments["config"]
    found = located(config.source)
    if is_allowed(found.license, config.licenses.allow):
        return None
    says = "states no licence" if found.license == UNKNOWN else f"is under {found.license}"
    return (
        f"{found.name} {says}, and licenses.allow names only {', '.join(config.licenses.allow)}; read its terms, then "
        f"add {found.license!r} to licenses.allow, or start from another model"
    )


def license_facts(arguments: Mapping[str, Any]) -> list[str]:
    """What a plan says beside the stage."""
    from gristmill.model.open_sources import located

    found = located(arguments["config"].source)
    return [f"{found.name}, licence {found.license}"]
