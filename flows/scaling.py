"""From sources to a scaling law: one corpus, a ladder of models, the law through them."""

from functools import partial

from flows.data import data
from gristmill.artifacts import ScalingLaw
from gristmill.config import PipelineConfig
from tasks.pretrain import pretrain
from tasks.scaling import scaling as fit
from tasks.together import together


def scaling(config: PipelineConfig) -> ScalingLaw:
    """Train a ladder of depths at several token budgets, fit a scaling law, predict what was held out."""
    ladder = config.ladder  # refused before any data is made
    grist = data(config)
    rungs = {
        rung.name: partial(
            pretrain[rung.name],
            tokens=grist.tokens,
            tokenizer=grist.tokenizer,
            start=None,
            anneal=None,
            model=rung.model,
            config=rung.pretrain,
        )
        for rung in ladder
    }
    return fit(rungs=together(rungs), model=config.model, config=config.scaling)
