"""What a stage says about its work: `report.json` in every artifact, and one row of the result table."""

from typing import Any

from gristmill.schema import Schema


class Report(Schema):
    """Counts and scores of one built stage.

    rows_in, rows_out: counted in `unit` (pages, documents, tokens, rows, items).
    dropped: rows dropped, by rule; their verdicts stand in `verdicts.parquet`.
    metrics: finite numbers worth a column in MLflow. details: anything else worth reading, JSON-able.
    """

    rows_in: int
    rows_out: int
    unit: str = "documents"
    dropped: dict[str, int] = {}
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {}
