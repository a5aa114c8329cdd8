"""`python -m flows.cli.prefect_server start …` is `prefect server start …`, with schedules that work on SQLAlchemy 2.1.

Prefect 3.8.8 inserts scheduled runs in bulk, with keys that SQLAlchemy 2.0 left alone because no column has their
name. 2.1 takes them for the hybrid properties they are called after, and refuses: no scheduled run is ever made. Added
here is the setter that 2.1 asks for, which leaves the keys alone as before. To be removed when Prefect has its own;
nothing changes on 2.0.
"""

import sys
from typing import Any


def main() -> None:
    """Entry point; the arguments are those of `prefect server`."""
    leave_hybrids_alone()
    from prefect.cli import app

    sys.argv = ["prefect", "server", *sys.argv[1:]]
    app()


def leave_hybrids_alone() -> None:
    """Let bulk inserts of flow runs name hybrid properties, to no effect."""
    from prefect.server.database.orm_models import FlowRun
    from sqlalchemy.ext.hybrid import hybrid_property

    for descriptor in FlowRun.__mapper__.all_orm_descriptors:
        if isinstance(descriptor, hybrid_property) and getattr(descriptor, "bulk_dml_setter", True) is None:
            descriptor.bulk_dml_setter = _leave_alone


def _leave_alone(cls: Any, mapping: Any, value: Any) -> None:
    return None


if __name__ == "__main__":
    main()
