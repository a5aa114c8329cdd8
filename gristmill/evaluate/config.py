"""What evaluation measures."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from gristmill.evaluate.harness_config import NAME, HarnessBenchmark, HubBenchmark, LocalItems, described
from gristmill.evaluate.named_texts_config import NamedText
from gristmill.evaluate.speed_config import SpeedConfig
from gristmill.evaluate.toxicity_config import ToxicityConfig
from gristmill.fingerprint import content_digest
from gristmill.judge.config import JudgedSamplesConfig
from gristmill.program import Run
from gristmill.schema import Schema, StageConfig

Score = Literal["sum", "per_byte", "mutual_information"]


class ExampleItems(Schema):
    """The held-out items that the stage `examples` made."""

    kind: Literal["examples"] = "examples"


class JsonlItems(LocalItems):
    """A JSON-lines file (or `.gz`) of items: `{"id", "question", "choices": [...], "answer": index}`."""


Items = Annotated[ExampleItems | JsonlItems, Field(discriminator="kind")]


class MultipleChoice(Schema):
    """Which of several answers does the model find likeliest? Prompt and score are pinned: both move results."""

    kind: Literal["multiple_choice"] = "multiple_choice"
    name: str = Field(default="docs_choice", pattern=NAME)
    """Begins the names of its metrics."""
    data: Items = ExampleItems()
    """Where items come from."""
    score: Score = "mutual_information"
    """`sum`: ln p(choice | question). `per_byte`: that per byte of the choice. `mutual_information`: that minus
    ln p(choice | neutral_question), so that a choice likely anywhere has no advantage."""
    neutral_question: str = "What does it do?"
    """The question without what it asks about, for `mutual_information`."""
    plain_template: str = "{question}\n"
    """What a base model reads before a choice. A chat model reads the question as the user's turn."""

    @model_validator(mode="after")
    def _template_has_the_question(self) -> Self:
        if "{question}" not in self.plain_template:
            raise ValueError(
                f"plain_template={self.plain_template!r} leaves the question out; write {{question}} in it"
            )
        return self

    @property
    def definition(self) -> dict[str, Any]:
        """What of it moves an item's answer, but for the items."""
        return self.model_dump(mode="json", exclude={"kind", "name", "data"})

    def identity(self) -> dict[str, Any]:
        """A file stands for its content."""
        dumped = self.model_dump(mode="json")
        if isinstance(self.data, JsonlItems):
            dumped["data"]["path"] = content_digest(self.data.path)
        return dumped


Described = Annotated[MultipleChoice | HarnessBenchmark | HubBenchmark, Field(discriminator="kind")]
Benchmark = Annotated[Described, BeforeValidator(described, json_schema_input_type=str | Described)]


class EvaluateConfig(StageConfig):
    """Scores of one checkpoint: bits per byte, benchmarks with baselines, a few answers to read."""

    benchmarks: list[Benchmark] = [MultipleChoice()]
    """Benchmarks, each with a name of its own: settings, or the name of a definition in `pipeline_configs/benchmarks/`
    (`blimp`, `piqa`, …; docs/evaluation.md)."""
    limit: PositiveInt | None = None
    """At most so many items of each benchmark that lm-evaluation-harness asks; null: all."""
    limit_seed: int = Field(default=0, ge=0)
    """Which ones."""
    chat: bool = True
    """Ask in the chat format. False for base models, which never saw it."""
    samples: list[str] = [
        "What does `os.getcwd` do?",
        "What does `numpy.zeros` do?",
        "What does `list.sort` do?",
        "What does `torch.nn.Linear` do?",
    ]
    """Prompts whose greedy answers are written to samples.jsonl."""
    sample_tokens: PositiveInt = 48
    """Longest such answer, in tokens."""
    judge: JudgedSamplesConfig | None = None
    """Who compares the answers to `samples` with the parent's; null: nobody."""
    texts: list[NamedText] = []
    """Texts that bits per byte are measured on, beside the validation split of the token shards."""
    toxicity: ToxicityConfig | None = None
    """How toxic its continuations of some beginnings are; null: not measured."""
    speed: SpeedConfig | None = None
    """How fast the model answers, and in how much memory; null: not measured."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of matrix products. `bf16` takes half the time on hardware that has it, and moves one choice in a hundred."""
    seed: int = Field(default=0, ge=0)
    """Seed of the bootstrap behind all intervals."""

    def for_base_model(self) -> Self:
        """The same measurements without the chat format."""
        return self.model_copy(update={"chat": False})

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        beginnings = self.toxicity.beginnings if self.toxicity else []
        names = [each.name for each in (*self.benchmarks, *self.texts, *beginnings)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two benchmarks, texts or sets of beginnings are named {twice[0]!r}; their metrics would collide, so "
                "rename one"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The configuration with a file's content in place of its path."""
        decisive = self.model_dump(mode="json", exclude={"judge", "toxicity"})
        decisive["texts"] = [text.identity() for text in self.texts]
        if self.judge:
            decisive["judge"] = self.judge.identity()
        if self.toxicity:
            decisive["toxicity"] = self.toxicity.identity()
        return decisive | {"benchmarks": [benchmark.identity() for benchmark in self.benchmarks]}


class EvaluateRun(Run):
    """`run.yaml` of `python -m gristmill.evaluate.run`."""

    model: Path
    """Folder of the model."""
    tokens: Path | None = None
    """Folder of token shards; their validation split measures bits per byte."""
    examples: Path | None = None
    """Folder of the examples artifact, where a benchmark asks for it."""
    decontaminated: Path | None = None
    """Folder of the decontaminated text; scores are given without the items that were found there, too."""
    parent: Path | None = None
    """Folder of an earlier evaluation, of the model this one was made from."""
    config: EvaluateConfig = EvaluateConfig()
    """What is measured."""
