"""Crawls that go on night after night."""

from pydantic import Field

from gristmill.schema import Schema


class NightsConfig(Schema):
    """Runs of one series share a corpus: each brings what no earlier one has brought. Null: a run is for itself."""

    series: str = Field(default="nights", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of the series. Configurations that name the same one go on with the same corpus."""
