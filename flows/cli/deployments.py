"""What `pipeline_configs/deployments.yaml` says: which flow runs when, on which configuration.

These classes are also the form that Prefect's UI shows for a run started by hand.
"""

from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, PositiveInt, field_validator, model_validator

from flows.cli import workspace
from gristmill.schema import Schema


class RunSettings(Schema):
    """A flow on a configuration, as `gristmill run` takes it."""

    config: str
    """A name from pipeline_configs/ or a path to a .yaml file."""
    overrides: list[str] = []
    """Settings that differ, each as `a.b=value`."""
    refresh: list[str] = []
    """Stages to build again."""
    retry_after_s: list[PositiveInt] = [60, 240, 960]
    """What a retry can help (a source, the registry, a network that is away) is tried again after these pauses, one
    retry each. Anything else fails at once: it would fail again."""


class PromoteSettings(Schema):
    """A challenger that passed the gate, and who lets it become champion."""

    model: str = "gristmill"
    """The registered model."""
    version: str
    """The version that waits."""
    by: str | None = None
    """Your name, for the record: approves at once. Left out: the run is suspended and asks for it in Prefect's UI."""
    wait_s: PositiveInt = 7 * 24 * 3600
    """How long it asks."""


class MaintenanceSettings(Schema):
    """What keeps a store and its servers in order; each part can be left out."""

    sweep: bool = True
    """Close runs whose process is gone as Crashed."""
    gc: bool = True
    """Delete shards that no artifact holds, and drafts untouched for `drafts_older_than_days`."""
    drafts_older_than_days: float = Field(default=14.0, ge=0)
    """A younger draft may hold checkpoints that its next run goes on from."""
    verify: bool = True
    """Hash every file of every artifact. The run fails when one differs from its record."""
    backups: int = Field(default=7, ge=0)
    """Back up the two databases, the registry's files, and the books of nights, runs and promotions, and keep so many;
    0 makes none."""


class _Deployment(Schema):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name in Prefect."""
    cron: str | None = None
    """Minute, hour, day, month, day of the week, in `timezone`. Null: by hand or by an event."""
    tags: list[str] = []
    """For filters in the UI, beside the flow's name."""
    pool: str | None = None
    """Another work pool than that of `gristmill deploy --pool`, such as that of a machine with a GPU."""

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, cron: str | None) -> str | None:
        from prefect.client.schemas.schedules import CronSchedule

        if cron is not None:
            try:
                CronSchedule(cron=cron)
            except ValueError:
                raise ValueError(
                    f"{cron!r} is no cron schedule; write five fields, such as '30 1 * * *' for half past one"
                ) from None
        return cron


class RunDeployment(_Deployment):
    """`crawl` brings what is new and mixes it; `data` goes on to tokens, `pretrain` to a base model, `pipeline` to the
    gate."""

    flow: Literal["crawl", "data", "pretrain", "pipeline"]
    settings: RunSettings

    @model_validator(mode="after")
    def _configuration_holds(self) -> Self:
        workspace.load_config(self.settings.config, self.settings.overrides)
        workspace.check_stages(self.settings.refresh)
        return self


class PromoteDeployment(_Deployment):
    """Started by a challenger that passed the gate and waits for a person, or by hand."""

    flow: Literal["promote"]
    wait_s: PositiveInt = PromoteSettings.model_fields["wait_s"].default
    """How long a run that an event has started asks for a name."""


class MaintenanceDeployment(_Deployment):
    """Sweep, collect, verify, back up."""

    flow: Literal["maintenance"]
    settings: MaintenanceSettings = MaintenanceSettings()


Deployment = Annotated[RunDeployment | PromoteDeployment | MaintenanceDeployment, Field(discriminator="flow")]


class Deployments(Schema):
    """All of the file."""

    timezone: str = "UTC"
    """Where the clock of the schedules hangs, such as Europe/Berlin; it keeps summer time."""
    gpu_slots: PositiveInt = 1
    """Trainings and evaluations on GPUs at the same time, over all workers; each machine does one at a time."""
    runs_at_once: PositiveInt = 2
    """Flow runs that `gristmill schedule` starts at the same time; runs of one deployment never overlap."""
    deployments: list[Deployment]

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{name!r} names no time zone; write one as Europe/Berlin or UTC")
        return name

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [deployment.name for deployment in self.deployments]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)}: two deployments have this name; give each its own")
        return self
