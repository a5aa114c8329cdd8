"""From sources to packed tokens."""

from dataclasses import dataclass

from gristmill.artifacts import Examples, Splits, Tokenizer, Tokens
from gristmill.config import PipelineConfig
from tasks.decontaminate import decontaminate
from tasks.dedup import dedup
from tasks.examples import examples
from tasks.extract import extract
from tasks.filter import filter
from tasks.ingest import ingest
from tasks.mix import mix
from tasks.signals import signals
from tasks.split import split
from tasks.tokenize import tokenize
from tasks.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class Grist:
    """What the data half hands to the model half."""

    examples: Examples
    splits: Splits
    tokenizer: Tokenizer
    tokens: Tokens


def data(config: PipelineConfig) -> Grist:
    """Ingest, clean, deduplicate, decontaminate, mix, split and tokenize."""
    warcs = ingest(config=config.ingest)
    documents = extract(warcs=warcs, config=config.extract)
    documents = signals(documents=documents, config=config.signals)
    documents = filter(documents=documents, config=config.filter)
    documents = dedup(documents=documents, config=config.dedup)
    made = examples(config=config.examples, split=config.split)
    documents = decontaminate(documents=documents, examples=made, config=config.decontamination, split=config.split)
    documents = mix(documents=documents, config=config.mixture)
    splits = split(documents=documents, config=config.split)
    tokenizer = train_tokenizer(splits=splits, config=config.train_tokenizer)
    tokens = tokenize(splits=splits, tokenizer=tokenizer, config=config.tokenize)
    return Grist(made, splits, tokenizer, tokens)
