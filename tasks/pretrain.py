"""A base model, from scratch or from an earlier one."""

from pathlib import Path

from gristmill.artifacts import Checkpoint, Tokenizer, Tokens
from gristmill.model.config import ModelConfig
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.tokens.continuity import another_vocabulary
from gristmill.train.config import PretrainConfig
from tasks.launch import launch
from tasks.stage import stage


@stage(produces=Checkpoint, version=4, resumable="always", launches=True, refuses=another_vocabulary)
def pretrain(
    out: Path,
    tokens: Tokens,
    tokenizer: Tokenizer,
    start: Checkpoint | None,
    anneal: Tokens | None,
    model: ModelConfig,
    config: PretrainConfig,
    resources: Resources = Resources(),
) -> Report:
    """Training on the packed rows, on next tokens or masked ones; continues from its last checkpoint after a kill."""
    return launch(
        "gristmill.train.pretrain",
        out,
        inputs={"tokens": tokens, "tokenizer": tokenizer, "start": start, "anneal": anneal},
        config=config,
        model=model,
        resources=resources,
        distributed=True,
    )
