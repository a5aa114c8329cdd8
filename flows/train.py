"""From tokens to an aligned model, evaluated after each training stage."""

from dataclasses import dataclass

from flows.data import Grist
from gristmill.align.config import AlignConfig, RewardModelConfig, SftConfig
from gristmill.artifacts import Checkpoint, Evaluation, Examples
from gristmill.config import PipelineConfig
from gristmill.tokens.config import ExistingTokenizer
from tasks.align import align
from tasks.evaluate import evaluate
from tasks.examples import examples
from tasks.preferences import preferences
from tasks.pretrain import pretrain
from tasks.reward_model import reward_model
from tasks.sft import sft
from tasks.synthesize import synthesize
from tasks.test_time import test_time
from tasks.tokenize import tokenize
from tasks.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class Flour:
    """An aligned model and its scores."""

    model: Checkpoint
    evaluation: Evaluation


def train(config: PipelineConfig, grist: Grist) -> Flour:
    """Pretrain, fine-tune, align; each model is compared with its parent on the same items."""
    made, tokens, clean = grist.examples, grist.tokens, grist.decontaminated
    before = scores_before(config, grist)
    base = base_model(config, grist)
    base_scores = evaluate["pretrain"](
        model=base,
        tokens=tokens,
        examples=made,
        decontaminated=clean,
        parent=before,
        config=config.evaluate.for_base_model(),
    )
    taught = made
    if config.synthesize:
        taught = synthesize(examples=made, config=config.synthesize, decontaminate=config.decontamination)
    kept_out = config.kept_out_of("sft")
    rows = _rows(config.sft, taught)
    tuned = sft(model=base, examples=rows, config=config.sft, decontaminate=kept_out, asked=made if kept_out else None)
    tuned_scores = evaluate["sft"](
        model=tuned, tokens=tokens, examples=made, decontaminated=clean, parent=base_scores, config=config.evaluate
    )
    judged = made
    if config.preferences:
        answering = tuned if config.preferences.kind != "people" else None
        judged = preferences(examples=made, config=config.preferences, model=answering)
    scores, second = _reward_models(config, tuned, judged, made)
    kept_out = config.kept_out_of("align")
    aligned = align(
        model=tuned,
        examples=_rows(config.align, judged),
        reward_model=scores,
        config=config.align,
        judge_model=second,
        decontaminate=kept_out,
        asked=made if kept_out else None,
    )
    aligned_scores = evaluate["align"](
        model=aligned, tokens=tokens, examples=made, decontaminated=clean, parent=tuned_scores, config=config.evaluate
    )
    if config.test_time:
        test_time(model=aligned, examples=made, reward_model=scores, config=config.test_time)
    return Flour(aligned, aligned_scores)


def _reward_models(
    config: PipelineConfig, tuned: Checkpoint, judged: Examples, made: Examples
) -> tuple[Checkpoint | None, Checkpoint | None]:
    """The one that scores answers and the one that judges them, each where it is asked."""
    scorer, judge = config.reward_models
    kept_out = config.kept_out_of("reward_model")
    asked = made if kept_out else None
    scores = second = None
    if scorer:
        rows = _rows(scorer, judged)
        scores = reward_model(model=tuned, examples=rows, config=scorer, decontaminate=kept_out, asked=asked)
    if judge:
        rows = _rows(judge, judged)
        second = reward_model["judge"](model=tuned, examples=rows, config=judge, decontaminate=kept_out, asked=asked)
    return scores, second


def _rows(config: SftConfig | RewardModelConfig | AlignConfig, made: Examples) -> Examples:
    """This run's rows, or those of the earlier run that a stage's `data` names."""
    named = config.earlier_rows
    return examples.at(named) if named else made


def scores_before(config: PipelineConfig, grist: Grist) -> Evaluation | None:
    """An open model as it came, with its own tokenizer, on the same text: what it knew before it was adapted."""
    if config.open_model is None or grist.start is None:
        return None
    own = train_tokenizer["open_model"](splits=grist.splits, base=grist.start, config=ExistingTokenizer())
    tokens = tokenize["open_model"](splits=grist.splits, tokenizer=own, config=config.tokenize)
    return evaluate["open_model"](
        model=grist.start,
        tokens=tokens,
        examples=grist.examples,
        decontaminated=grist.decontaminated,
        parent=None,
        config=config.evaluate.for_base_model(),
    )


def base_model(config: PipelineConfig, grist: Grist) -> Checkpoint:
    """Pretrain, from scratch or from an earlier model."""
    return pretrain(
        tokens=grist.tokens,
        tokenizer=grist.tokenizer,
        start=grist.start,
        anneal=tokenize["anneal"].at(config.pretrain.anneal.artifact) if config.pretrain.anneal else None,
        model=config.model,
        config=config.pretrain,
    )
