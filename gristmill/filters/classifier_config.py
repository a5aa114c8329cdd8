"""Which classifiers score a document, and what the stage trains itself."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from gristmill.reference_files import reference_digest
from gristmill.schema import Schema

TaskName = Literal["toxicity", "quality", "literacy", "topic"]
MODELS = Path(__file__).parent / "models"


class TrainClassifier(Schema):
    """A model that the signals stage trains before it scores: fastText, one thread, the same bytes every time."""

    data: list[str] = []
    """JSONL files (.gz too), by path or URL: `text` with a `label` (topic: with a `topic`), or pairs of
    `sentence_good` and `sentence_bad`."""
    positive: list[str] = []
    """Files of texts that are all of the positive label: for quality, reference texts. JSONL with `text`, or .txt."""
    negative: list[str] = []
    """Files of texts that are all of the other label. For quality, none means: a sample of the documents that come in,
    as many as there are positive texts, as DCLM trained against its crawl."""
    seed: NonNegativeInt = 0
    """Decides the order of the training lines, and the sample of the crawl."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Self:
        if not self.data and not self.positive:
            raise ValueError("name labelled files in `data`, or files of one label in `positive` (and `negative`)")
        return self


class TrainedHere(Schema):
    """`{train: {…}}` in the place of a model's path."""

    train: TrainClassifier
    """What it learns from."""


Models = dict[str, str | TrainedHere | None]


class ClassifiersConfig(Schema):
    """fastText models by task and language: a path, a URL, `{train: …}`, or null for none."""

    toxicity: Models = {}
    """Signal `toxicity`: mean probability that a passage of 50 words is toxic. A language not named here has the model
    shipped with gristmill, where there is one, or none."""
    quality: Models = {}
    """Signal `quality`: probability of the label `__label__hq` against `__label__cc`, as in DCLM's published models."""
    literacy: Models = {}
    """Signal `literacy`: mean probability that a passage of 30 words is corrected text."""
    topic: Models = {}
    """Signals `topic` and `topic_score`: the most probable label and its probability."""
    max_chars: PositiveInt = Field(default=3000, ge=100)
    """Characters of a document that are read, in four stretches spread evenly over it. Bounds what a score costs."""

    def models(self, task: TaskName) -> dict[str, str | TrainedHere]:
        """By language, those shipped with gristmill included."""
        shipped = {path.name.split(".")[1]: str(path) for path in sorted(MODELS.glob(f"{task}.*.ftz"))}
        named: Models = getattr(self, task)
        return {language: model for language, model in sorted({**shipped, **named}.items()) if model is not None}

    def identity(self) -> dict[str, Any]:
        """Models and training texts by the digest of their content. Raises SourceUnavailable for one not readable."""
        tasks: tuple[TaskName, ...] = ("toxicity", "quality", "literacy", "topic")
        return {task: self._digests(task) for task in tasks} | {"max_chars": self.max_chars}

    def _digests(self, task: TaskName) -> dict[str, Any]:
        return {language: _digest(task, language, model) for language, model in self.models(task).items()}

    @model_validator(mode="after")
    def _only_quality_learns_from_the_crawl(self) -> Self:
        tasks: tuple[TaskName, ...] = ("toxicity", "literacy", "topic")
        for task in tasks:
            for language, model in self.models(task).items():
                train = model.train if isinstance(model, TrainedHere) else None
                if train and train.positive and not (train.negative or train.data):
                    raise ValueError(
                        f"signals.classifiers.{task}.{language}.train has positive texts and no others; name files in "
                        "`negative` or `data` (only quality takes the crawl for the other side)"
                    )
        return self


def setting_of(task: TaskName, language: str) -> str:
    """How error messages call a model."""
    return f"signals.classifiers.{task}.{language}"


def remedy_of(task: TaskName, language: str) -> str:
    """How to get a model that is not there."""
    return (
        f"correct the path, or make a model with `gristmill classifier train --task {task} --language {language}` "
        "from labelled text"
    )


def _digest(task: TaskName, language: str, model: str | TrainedHere) -> Any:
    setting = setting_of(task, language)
    if isinstance(model, str):
        return reference_digest(model, setting=setting, remedy=remedy_of(task, language))
    files = {
        name: [reference_digest(place, setting=f"{setting}.train.{name}") for place in getattr(model.train, name)]
        for name in ("data", "positive", "negative")
    }
    return {"train": files | {"seed": model.train.seed}}
