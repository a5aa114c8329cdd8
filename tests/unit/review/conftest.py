"""A review of six prompts, one of them with a planted error."""

from pathlib import Path

import pytest
from small_review import write_review


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_review(tmp_path / "review")
    return tmp_path / "review"
