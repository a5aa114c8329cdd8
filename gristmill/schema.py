"""The base of every stage's configuration: frozen, explained, unknown keys refused.

A stage's configuration says WHAT is computed, so it is hashed into the artifact key. HOW it is computed (workers,
threads, devices) is `Resources` and never is.
"""

import os
import re
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gristmill.errors import SourceUnavailable as SourceUnavailable
from gristmill.ray_engine import RayEngine


class Schema(BaseModel):
    """A frozen pydantic model whose attribute docstrings become the descriptions in the JSON schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _default_variants(cls, values: Any) -> Any:
        """A variant need not be named where it is the default one: `train_tokenizer: {vocab_size: 4096}`.

        Where the default is none at all, it is the first one: `preferences: {reviews: [nightly]}`.
        """
        if not isinstance(values, dict):
            return values
        named = dict(values)
        for name, field in cls.model_fields.items():
            given, tag = named.get(name), field.discriminator
            if isinstance(given, dict) and isinstance(tag, str) and not field.is_required():
                variant = get_args(field.annotation)[0] if field.default is None else type(field.default)
                named[name] = {tag: variant.model_fields[tag].default, **given}
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
    """How work is done on this machine. It changes no key, and no result but that `device` decides `precision: auto`.

    Machines that share a store therefore set `pretrain.precision` to bf16 or fp32 before they compare trainings.
    """

    workers: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that work on shards of data at the same time; a Ray cluster at an address has its own number."""
    engine: Literal["local", "ray"] = "local"
    """Where shards of data are worked on: processes of this machine, or a Ray cluster (`gristmill[ray]`)."""
    ray_address: str | None = None
    """`HOST:PORT` of a Ray cluster that this machine is a node of; unset: a cluster of this machine alone."""
    ray_shared_disk: bool = True
    """The nodes of the cluster see the artifact store's folder under one path. Where they do not, shards of `extract`,
    `signals` and `filter` go through the remote store (GRISTMILL_STORE), and `workers` processes here do the rest."""
    threads: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 1)
    """Threads of a training or evaluation process on CPU. With several processes use 1: oversubscription is slow."""
    device: str = "auto"
    """`auto` (CUDA when present, else CPU), `cpu`, `cuda`, `cuda:1`."""
    peak_tflops: PositiveFloat | None = None
    """What one device can compute at most, in TFLOP/s, for the share that training makes use of (`mfu`); null: from the
    table in gristmill/train/peaks.py, where the device is known."""
    processes: PositiveInt = 1
    """Pretraining processes on this machine; more than one starts torchrun."""
    nodes: PositiveInt = 1
    """Machines that pretrain together, each with `processes`; they share the artifact store's file system."""
    rendezvous: str | None = None
    """`HOST:PORT` where processes of several machines meet: this machine, as the others know it, and a free port."""
    parallel: Literal["auto", "ddp", "fsdp", "hybrid"] = "auto"
    """How a model lies across processes: whole in each (`ddp`), cut among all (`fsdp`), cut within a machine and whole
    on each (`hybrid`). `auto`: `ddp`, or where a GPU has no room for that `fsdp`, on several machines `hybrid`."""
    activation_checkpointing: bool = False
    """Compute a layer's activations a second time for its gradient instead of keeping them: less memory, about a third
    more time, the same bits."""
    trainings: PositiveInt = 1
    """Trainings of a ladder or a comparison that run at the same time; they share `threads`."""

    @property
    def pool(self) -> int | RayEngine:
        """What `map_shards` takes as `workers`."""
        return (
            self.workers if self.engine == "local" else RayEngine(self.workers, self.ray_address, self.ray_shared_disk)
        )

    @field_validator("ray_address", "rendezvous")
    @classmethod
    def _is_host_and_port(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is not None and not re.fullmatch(r"[^:/\s]+:[0-9]{1,5}", address):
            what = {"ray_address": "a Ray cluster", "rendezvous": "a rendezvous"}[info.field_name or ""]
            raise ValueError(f"{address!r} is no address of {what}; write HOST:PORT, such as 10.0.0.1:6379")
        return address

    @model_validator(mode="after")
    def _machines_meet_somewhere(self) -> Self:
        if (self.nodes > 1) != (self.rendezvous is not None):
            raise ValueError(
                f"resources.nodes={self.nodes} with rendezvous={self.rendezvous}: several machines need a HOST:PORT to "
                "meet at, and one machine needs none"
            )
        return self

    @model_validator(mode="after")
    def _address_has_an_engine(self) -> Self:
        if self.ray_address and self.engine != "ray":
            raise ValueError(
                f"resources.ray_address={self.ray_address} is not used by engine={self.engine}; set engine: ray"
            )
        return self
