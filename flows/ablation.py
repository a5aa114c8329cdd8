"""From sources to a verdict on data recipes: the same training on each recipe's text, several seeds."""

from functools import partial

from flows.data import clean, starting_model, vocabulary
from gristmill.artifacts import Ablation, Checkpoint, DocumentBits, Splits, Tokenizer, Tokens
from gristmill.config import PipelineConfig
from tasks.ablation import ablation as compare
from tasks.pretrain import pretrain
from tasks.stage import variant
from tasks.text_bits import text_bits
from tasks.together import together
from tasks.tokenize import tokenize


def ablation(config: PipelineConfig) -> Ablation:
    """Train each data recipe alike with several seeds, and compare them on the same texts."""
    splits: dict[str, Splits] = {}
    for name, recipe in config.recipes.items():
        with variant(name):
            splits[name] = clean(recipe).splits
    reference = splits[config.ablation.reference]
    start = starting_model(config)
    tokenizer = vocabulary(config, reference, start)
    trials = {}
    for name in config.recipes:
        with variant(name):
            tokens = tokenize(splits=splits[name], tokenizer=tokenizer, config=config.tokenize)
        for seed in config.ablation.seeds:
            trial = f"{name}-s{seed}"
            trials[trial] = partial(_trial, trial, config.with_seed(seed), tokens, tokenizer, start, reference)
    return compare(trials=together(trials), config=config.ablation)


def _trial(
    name: str,
    config: PipelineConfig,
    tokens: Tokens,
    tokenizer: Tokenizer,
    start: Checkpoint | None,
    reference: Splits,
) -> DocumentBits:
    model = pretrain[name](
        tokens=tokens, tokenizer=tokenizer, start=start, anneal=None, model=config.model, config=config.pretrain
    )
    return text_bits[name](model=model, splits=reference, config=config.text_bits)
