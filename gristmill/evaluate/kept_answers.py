"""Answers of the benchmarks that a killed evaluation had finished: asking takes minutes to hours each."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.store import SCRATCH

if TYPE_CHECKING:
    from gristmill.evaluate.harness import Answered


class KeptAnswers:
    """What an output folder holds of an evaluation that has not ended."""

    def __init__(self, out: Path, state: str) -> None:
        """state: stands for the model and for all that is asked of it; answers kept under another are not taken."""
        self.folder, self.state = out / SCRATCH / "answered", state

    def of(self, name: str, answer: Callable[[], "Answered"]) -> "Answered":
        """A benchmark's answers: those kept, or new ones, which are then kept."""
        from gristmill.evaluate.harness import Answered

        path = self.folder / f"{name}.json"
        if path.is_file():
            found = json.loads(path.read_text())
            if found.pop("state") == self.state:
                return Answered(**found)
        answered = answer()
        self.folder.mkdir(parents=True, exist_ok=True)
        half_written = path.with_suffix(".new")
        half_written.write_text(json.dumps({"state": self.state, **asdict(answered)}))
        half_written.replace(path)
        return answered

    def forget(self) -> None:
        """The evaluation has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)
