"""Answers of the benchmarks that a killed evaluation had finished: asking takes minutes to hours each."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.evaluate.config import EvaluateConfig
from gristmill.fingerprint import file_sha256
from gristmill.store import SCRATCH

if TYPE_CHECKING:
    from gristmill.evaluate.harness import Answered


class KeptAnswers:
    """What an output folder holds of an evaluation that has not ended."""

    def __init__(self, out: Path, model: Path, config: EvaluateConfig) -> None:
        """Answers of another model folder, to another configuration or by another lm-eval are not taken."""
        self.folder, self.model, self.config = out / SCRATCH / "answered", model, config

    def of(self, name: str, answer: Callable[[], "Answered"]) -> "Answered":
        """A benchmark's answers: those kept, or new ones, which are then kept."""
        from gristmill.evaluate.harness import Answered

        path, state = self.folder / f"{name}.json", self._state
        with suppress(OSError, ValueError):  # none there, or half of one
            found = json.loads(path.read_text())
            if found.pop("state") == state:
                return Answered(**found)
        answered = answer()
        self.folder.mkdir(parents=True, exist_ok=True)
        half_written = path.with_suffix(".new")
        half_written.write_text(json.dumps({"state": state, **asdict(answered)}))
        half_written.replace(path)
        return answered

    def forget(self) -> None:
        """The evaluation has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # a stage has more in it
            self.folder.parent.rmdir()

    @cached_property
    def _state(self) -> str:
        files = sorted(path for path in self.model.iterdir() if path.is_file())
        of_model = {path.name: file_sha256(path) for path in files}
        return json.dumps([of_model, self.config.identity(), version("lm_eval")])
