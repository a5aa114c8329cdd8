"""The base of every stage's configuration: frozen, explained, unknown keys refused.

A stage's configuration says WHAT is computed, so it is hashed into the artifact key. HOW it is computed (workers,
threads, devices) is `Resources` and never is.
"""

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from gristmill.errors import SourceUnavailable as SourceUnavailable


class Schema(BaseModel):
    """A frozen pydantic model whose attribute docstrings become the descriptions in the JSON schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _default_variants(cls, values: Any) -> Any:
        """A variant need not be named where it is the default one: `train_tokenizer: {vocab_size: 4096}`."""
        if not isinstance(values, dict):
            return values
        named = dict(values)
        for name, field in cls.model_fields.items():
            given, tag = named.get(name), field.discriminator
            if isinstance(given, dict) and isinstance(tag, str) and isinstance(field.default, BaseModel):
                named[name] = {tag: getattr(field.default, tag), **given}
        return named


class StageConfig(Schema):
    """What one stage computes."""

    def identity(self) -> dict[str, Any]:
        """The JSON value that stands for this configuration in the artifact key.

        Override it where a field names a place rather than a content (a path is replaced by a fingerprint of what
        lies there). Raises SourceUnavailable when the content cannot be looked at.
        """
        return self.model_dump(mode="json")


class Resources(Schema):
    """How work is done on this machine. Changing it never changes a result, nor a key."""

    workers: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that work on shards of data at the same time."""
    threads: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 1)
    """Threads of a training or evaluation process on CPU. With several processes use 1: oversubscription is slow."""
    device: str = "auto"
    """`auto` (CUDA when present, else CPU), `cpu`, `cuda`, `cuda:1`."""
    processes: PositiveInt = 1
    """Pretraining processes on this machine; more than one starts torchrun."""
