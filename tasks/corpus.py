"""The nights of a series as one corpus."""

from collections.abc import Mapping
from pathlib import Path

from gristmill.artifacts import Documents
from gristmill.report import Report
from tasks.stage import stage


@stage(produces=Documents, version=1)
def corpus(out: Path, nights: Mapping[str, Documents]) -> Report:
    """Join the documents of all nights."""
    from gristmill.text.corpus import run_corpus

    return run_corpus({name: documents.path for name, documents in nights.items()}, out)
