"""From tokens to an aligned model, evaluated after each training stage."""

from dataclasses import dataclass

from flows.data import Grist
from gristmill.artifacts import Checkpoint, Evaluation
from gristmill.config import PipelineConfig
from gristmill.model.config import CheckpointStart
from tasks.align import align
from tasks.evaluate import evaluate
from tasks.preferences import preferences
from tasks.pretrain import pretrain
from tasks.reward_model import reward_model
from tasks.sft import sft
from tasks.stage import checkpoint_at
from tasks.tokenize import tokenize


@dataclass(frozen=True)
class Flour:
    """An aligned model and its scores."""

    model: Checkpoint
    evaluation: Evaluation


def train(config: PipelineConfig, grist: Grist) -> Flour:
    """Pretrain, fine-tune, align; each model is compared with its parent on the same items."""
    made, tokens = grist.examples, grist.tokens
    base = base_model(config, grist)
    base_scores = evaluate["pretrain"](
        model=base, tokens=tokens, examples=made, parent=None, config=config.evaluate.for_base_model()
    )
    tuned = sft(model=base, examples=made, config=config.sft)
    tuned_scores = evaluate["sft"](
        model=tuned, tokens=tokens, examples=made, parent=base_scores, config=config.evaluate
    )
    judged = preferences(examples=made, config=config.preferences) if config.preferences else made
    judge = reward_model(model=tuned, examples=judged, config=config.reward_model)
    aligned = align(model=tuned, examples=judged, reward_model=judge, config=config.align)
    aligned_scores = evaluate["align"](
        model=aligned, tokens=tokens, examples=made, parent=tuned_scores, config=config.evaluate
    )
    return Flour(aligned, aligned_scores)


def base_model(config: PipelineConfig, grist: Grist) -> Checkpoint:
    """Pretrain, from scratch or from an earlier model."""
    earlier = config.model.start.artifact if isinstance(config.model.start, CheckpointStart) else None
    return pretrain(
        tokens=grist.tokens,
        tokenizer=grist.tokenizer,
        start=checkpoint_at(earlier) if earlier else None,
        anneal=tokenize["anneal"].at(config.pretrain.anneal.artifact) if config.pretrain.anneal else None,
        model=config.model,
        config=config.pretrain,
    )
