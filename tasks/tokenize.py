"""Documents become packed rows of token ids."""

from pathlib import Path

from gristmill.artifacts import Splits, Tokenizer, Tokens
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.tokens.config import TokenizeConfig
from tasks.stage import stage


@stage(produces=Tokens, version=3)
def tokenize(
    out: Path, splits: Splits, tokenizer: Tokenizer, config: TokenizeConfig, resources: Resources = Resources()
) -> Report:
    """Encode and pack the splits."""
    from gristmill.tokens.pack import run_tokenize

    return run_tokenize(splits.path, tokenizer.path, out, config, workers=resources.pool)
