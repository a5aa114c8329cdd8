"""Sources, languages and quality in the configured proportions."""

from pathlib import Path

from gristmill.artifacts import Documents
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.tokens.mix_config import MixConfig
from tasks.stage import stage


@stage(produces=Documents, version=3, resumable="same_code")
def mix(out: Path, documents: Documents, config: MixConfig, resources: Resources = Resources()) -> Report:
    """Decide how often each document is seen, by shares and rates, up to the mixture's length."""
    from gristmill.tokens.mix import run_mix

    return run_mix(documents.path, out, config, workers=resources.pool)
