"""From sources to packed tokens."""

from dataclasses import dataclass

from gristmill.artifacts import Checkpoint, Documents, Examples, Signatures, Splits, Tokenizer, Tokens, Warcs
from gristmill.config import PipelineConfig
from gristmill.model.config import CheckpointStart
from gristmill.tokens.config import PinnedTokenizer
from tasks.corpus import corpus
from tasks.decontaminate import decontaminate
from tasks.dedup import dedup
from tasks.examples import examples
from tasks.extract import extract
from tasks.filter import filter
from tasks.ingest import ingest
from tasks.known import known
from tasks.mix import mix
from tasks.nights import Nights, Tonight, nights_of
from tasks.open_model import open_model
from tasks.signals import signals
from tasks.signatures import signatures
from tasks.split import split
from tasks.stage import checkpoint_at, variant
from tasks.tokenize import tokenize
from tasks.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class Grist:
    """What the data half hands to the model half."""

    examples: Examples
    decontaminated: Documents
    splits: Splits
    tokenizer: Tokenizer
    tokens: Tokens
    start: Checkpoint | None
    """The model that training goes on from, where it does not begin anew."""


@dataclass(frozen=True)
class Cleaned:
    """Text that may train, and what may not be in it."""

    examples: Examples
    decontaminated: Documents
    splits: Splits


@dataclass(frozen=True)
class Corpus:
    """What a crawl comes to: documents, and how often each is seen."""

    examples: Examples
    decontaminated: Documents
    documents: Documents


def data(config: PipelineConfig) -> Grist:
    """Ingest, clean, deduplicate, decontaminate, mix, split and tokenize."""
    cleaned = clean(config)
    start = starting_model(config)
    tokenizer = vocabulary(config, cleaned.splits, start)
    tokens = tokenize(splits=cleaned.splits, tokenizer=tokenizer, config=config.tokenize)
    return Grist(cleaned.examples, cleaned.decontaminated, cleaned.splits, tokenizer, tokens, start)


def clean(config: PipelineConfig) -> Cleaned:
    """All up to the splits. What a recipe leaves out is left out."""
    mixed = crawl(config)
    return Cleaned(mixed.examples, mixed.decontaminated, split(documents=mixed.documents, config=config.split))


def crawl(config: PipelineConfig) -> Corpus:
    """Bring what is new, clean it, deduplicate it, and mix it with what earlier nights of the series brought."""
    nights = every_night(config) if config.nights else {}
    alone = None if config.nights else _deduplicated(config).documents
    made = examples(config=config.examples, split=config.split)
    held_out = {"examples": made, "config": config.decontamination, "split": config.split}
    if alone:
        documents = decontaminate(documents=alone, **held_out)
    else:
        documents = corpus(
            nights={name: decontaminate[name](documents=night, **held_out) for name, night in nights.items()}
        )
    return Corpus(made, documents, mix(documents=documents, config=config.mixture))


def every_night(config: PipelineConfig) -> dict[str, Documents]:
    """The documents of every night of the series, tonight's too if there is anything new."""
    with nights_of(config) as series:
        documents = {
            night.name: dedup[night.name].at(night.documents)
            if series.holds(night)
            else _built(series.again(night), series)
            for night in series.earlier
        }
        if tonight := series.tonight:
            documents[tonight.name] = _built(tonight, series)
    return documents


def _built(night: Tonight, series: Nights) -> Documents:
    with variant(night.name):
        brought = _deduplicated(night.config, warcs=ingest.at(night.warcs) if night.warcs else None)
    assert brought.known
    series.finished(night, brought.warcs, brought.documents, brought.known)
    return brought.documents


@dataclass(frozen=True)
class _Deduplicated:
    warcs: Warcs
    documents: Documents
    known: Signatures | None


def _deduplicated(config: PipelineConfig, *, warcs: Warcs | None = None) -> _Deduplicated:
    """warcs: where they need not be brought."""
    warcs = warcs or ingest(config=config.ingest)
    documents = extract(warcs=warcs, config=config.extract)
    documents = signals(documents=documents, config=config.signals)
    if "filter" not in config.leave_out:
        documents = filter(documents=documents, config=config.filter)
    if "dedup" in config.leave_out:
        return _Deduplicated(warcs, documents, None)
    signed = signatures(documents=documents, config=config.signatures)
    documents = dedup(documents=documents, signatures=signed, config=config.dedup)
    return _Deduplicated(warcs, documents, known(documents=documents, signatures=signed, config=config.known))


def starting_model(config: PipelineConfig) -> Checkpoint | None:
    """The model that training goes on from: an open one, imported, or one of an earlier run."""
    if config.open_model:
        return open_model(config=config.open_model)
    start = config.model.start
    return checkpoint_at(start.artifact) if isinstance(start, CheckpointStart) else None


def vocabulary(config: PipelineConfig, splits: Splits, start: Checkpoint | None) -> Tokenizer:
    """The tokenizer that is pinned, that of the model to start from, or one trained on these splits."""
    pinned = config.train_tokenizer.artifact if isinstance(config.train_tokenizer, PinnedTokenizer) else None
    base = start if config.takes_tokenizer_of_start else None
    return train_tokenizer.at(pinned) if pinned else train_tokenizer(splits=splits, base=base, config=config.tokenizer)
