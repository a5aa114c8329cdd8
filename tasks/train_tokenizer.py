"""A byte-level BPE tokenizer of the training text, or an existing one."""

from pathlib import Path

from gristmill.artifacts import Checkpoint, Splits, Tokenizer
from gristmill.report import Report
from gristmill.tokens.config import TokenizerConfig
from tasks.stage import stage


@stage(produces=Tokenizer, version=1)
def train_tokenizer(out: Path, splits: Splits, config: TokenizerConfig, base: Checkpoint | None = None) -> Report:
    """Train the tokenizer on the training split, or take the one of the model that training starts from."""
    from gristmill.tokens.tokenizer import run_train_tokenizer

    return run_train_tokenizer(splits.path, out, config, base=base.path if base else None)
