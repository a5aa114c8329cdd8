"""Resources reach the domain as they were configured."""

from pathlib import Path

TASKS = Path(__file__).parents[3] / "tasks"


def test_no_stage_takes_the_number_of_workers_past_the_engine():
    """`resources.workers` is right on one machine alone; `resources.pool` is the engine that was asked for."""
    assert [path.name for path in sorted(TASKS.glob("*.py")) if "resources.workers" in path.read_text()] == []
    assert "workers=resources.pool" in (TASKS / "extract.py").read_text()
