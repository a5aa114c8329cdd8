"""Which answers are preferred: by people, by a judge, or by a constitution."""

from pathlib import Path

from gristmill.artifacts import Checkpoint, Examples
from gristmill.judge.config import ConstitutionConfig, FeedbackConfig
from gristmill.report import Report
from gristmill.review.config import PreferencesConfig
from gristmill.schema import Resources
from tasks.launch import launch
from tasks.stage import stage


@stage(produces=Examples, version=3, resumable="always", launches=True)
def preferences(
    out: Path,
    examples: Examples,
    config: PreferencesConfig | FeedbackConfig | ConstitutionConfig,
    model: Checkpoint | None = None,
    resources: Resources = Resources(),
) -> Report:
    """Put pairs of people, or of a judge of the model's answers, in place of the made ones."""
    if config.kind == "people":
        from gristmill.review.preferences import run_preferences

        return run_preferences(examples.path, out, config)
    inputs = {"model": model, "examples": examples}
    return launch("gristmill.judge.preferences", out, inputs=inputs, config=config, resources=resources)
