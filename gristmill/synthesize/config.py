"""Which model writes rows from which seeds, and what a row must pass."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.fingerprint import content_digest
from gristmill.judge.config import ExamplePrompts, NamedJudgeConfig, PromptFile, check_license
from gristmill.program import Run
from gristmill.schema import StageConfig
from gristmill.synthesize.templates import TEMPLATES


class SynthesizeConfig(StageConfig):
    """Rows by a generator, added to the SFT rows of `examples`."""

    generator: NamedJudgeConfig
    """Who writes: an endpoint, or a model folder with a path."""
    license: str | None = None
    """Licence or terms of what an endpoint writes; needed there. A model folder states its own."""
    recipe: Literal["rephrase", "translate", "generate"] = "rephrase"
    """`rephrase`: the question in other words, the answer as it was. `translate`: both. `generate`: a new question in
    the manner of some seeds, then its answer."""
    seeds: ExamplePrompts | PromptFile = Field(default=ExamplePrompts(), discriminator="kind")
    """Questions with answers; of those that train, never of held-out ones."""
    max_seeds: PositiveInt = 500
    """So many of them, drawn by the seed; each gives one row at most."""
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}$")
    """Language of the rows that come out; for `translate` that into which."""
    row_tokens: PositiveInt = 128
    """Longest text that is written, in tokens."""
    temperature: PositiveFloat = 0.7
    """Of what is written."""
    min_length_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A row is kept when its question and answer have at least this many characters for each of the seed's."""
    max_length_ratio: Annotated[float, Field(ge=1)] = 2.0
    """And at most so many."""
    max_repetition: Annotated[float, Field(ge=0, le=1)] = 0.3
    """A row is kept when at most this share of its word triples stood in it before."""
    max_similarity: Annotated[float, Field(gt=0, le=1)] = 0.7
    """A row is kept when its question shares less than this of its word pairs (Jaccard) with every seed's and every
    row's before it."""
    leak_words: PositiveInt = 8
    """A row is kept when it has no so many consecutive words of a benchmark item."""
    seed: int = Field(default=0, ge=0)
    """Draws seeds and texts."""

    @model_validator(mode="after")
    def _terms_are_stated(self) -> Self:
        check_license(self.generator, self.license, setting="synthesize.license")
        return self

    def identity(self) -> dict[str, Any]:
        """The configuration with contents in place of paths, and the wording of what the generator is asked."""
        decisive = {**self.model_dump(mode="json"), "generator": self.generator.identity()}
        if isinstance(self.seeds, PromptFile):
            decisive["seeds"]["path"] = content_digest(self.seeds.path)
        return {**decisive, "template": TEMPLATES[self.recipe].identity}


class SynthesizeRun(Run):
    """`run.yaml` of `python -m gristmill.synthesize.run`."""

    examples: Path
    """Folder of the examples artifact."""
    config: SynthesizeConfig
    """What is computed."""
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    """Which files hold benchmark items."""
