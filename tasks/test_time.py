"""What several answers, or longer thoughts, are worth."""

from pathlib import Path

from gristmill.artifacts import Checkpoint, Curves, Examples
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.test_time.config import TestTimeConfig
from tasks.launch import launch
from tasks.stage import stage


@stage(produces=Curves, version=2, launches=True)
def test_time(
    out: Path,
    model: Checkpoint,
    examples: Examples,
    reward_model: Checkpoint | None,
    config: TestTimeConfig,
    resources: Resources = Resources(),  # noqa: PT028 (a stage, no test)
) -> Report:
    """Accuracy against answers and tokens, with a choice by majority or by the reward model."""
    inputs = {"model": model, "examples": examples, "reward_model": reward_model}
    return launch("gristmill.test_time.run", out, inputs=inputs, config=config, resources=resources)
