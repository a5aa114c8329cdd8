"""What the stage `examples` makes from docstrings."""

from typing import Any, Self

from pydantic import Field, PositiveInt, model_validator

from gristmill.crawl.python_docs_config import PythonDocsSource
from gristmill.schema import StageConfig


class ExamplesConfig(StageConfig):
    """Questions about Python functions: of the training split to train on, of the held-out split to be judged by."""

    source: PythonDocsSource = PythonDocsSource()
    """The docstrings. Their pages fall into splits by URL, so this need not be the part that `ingest` takes."""
    benchmark_items: PositiveInt = 1500
    """Benchmark items at most."""
    min_benchmark_items: PositiveInt = 1000
    """Fewer are an error: the scores' intervals would be too wide to tell models apart."""
    max_sft_rows: PositiveInt | None = None
    """Instruction rows at most; none: all there are."""
    max_preference_pairs: PositiveInt | None = None
    """Preference pairs at most; none: all there are."""
    damaged_pairs: float = Field(default=0.5, ge=0, le=1)
    """Share of the preference pairs whose rejected answer is the right one damaged: cut off, repeating itself, or with
    its words out of order. In the others it is another function's, which small models hardly tell apart."""
    min_summary_words: PositiveInt = 4
    """A kept summary has at least so many words."""
    max_summary_words: PositiveInt = 30
    """A kept summary has at most so many words."""
    max_jaccard: float = Field(default=0.7, gt=0, le=1)
    """A row to train on is kept when its summary and its docstring share less than this of their words with every
    benchmark item's."""
    seed: int = 0
    """Chooses rows, distractors and the order of the choices."""

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"source"}) | {"source": self.source.identity()}

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> Self:
        if self.min_benchmark_items > self.benchmark_items:
            raise ValueError(
                f"min_benchmark_items={self.min_benchmark_items} is above benchmark_items={self.benchmark_items}; "
                "lower it or raise benchmark_items"
            )
        if self.min_summary_words > self.max_summary_words:
            raise ValueError(
                f"min_summary_words={self.min_summary_words} is above max_summary_words={self.max_summary_words}; "
                "no summary could pass"
            )
        return self
