"""What decontamination computes, and which files hold the items that must not be trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from gristmill.errors import NotHere
from gristmill.fingerprint import file_sha256
from gristmill.schema import Schema, StageConfig
from gristmill.text.config import HELD_OUT_INDEX

EXAMPLES = "examples"
"""Name of the held-out items that the stage `examples` made."""


class ItemFile(Schema):
    """A JSON-lines file (or `.gz`) of benchmark items; a path alone will do where its fields have usual names."""

    path: Annotated[Path, AfterValidator(Path.absolute)]
    """The file; a relative path counts from where the command is started."""
    name: str = ""
    """Of the benchmark, in verdicts and reports. Empty: the file's name without its endings."""
    fields: list[str] = []
    """What makes the texts of an item: fields, or templates of them such as `{Body} {Question}`. Each makes one text;
    of a field that holds a list, each entry makes one. Empty: by usual names (question, context, choices, …)."""
    id: str = ""
    """Field with an item's own id. Empty: `id` or another usual name if no id stands twice, else the row's number."""
    summary: str = "summary"
    """Field with a phrase that gives the item away by itself, where an item has one."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str | Path) else given

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return self.name or self.path.name.removesuffix(".gz").removesuffix(".jsonl")

    def identity(self) -> dict[str, Any]:
        """The file's content in place of its path; the name that verdicts show is part of it."""
        return self.model_dump(mode="json") | {
            "path": _sha256("decontaminate.benchmarks", self.path),
            "name": self.benchmark,
        }


class DecontaminateConfig(StageConfig):
    """Cut benchmark items out of pages that may train."""

    benchmarks: list[ItemFile] = []
    """More files of benchmark items. The files of `evaluate.benchmarks` and the held-out examples always count."""
    against: list[str] = []
    """Folders of earlier `split` artifacts. A page they validated or held out, by URL or text, does not train now."""
    ngram_words: int = Field(default=8, ge=2)
    """Consecutive words in one n-gram. Items are looked up by their n-grams, so a shorter excerpt of one is kept."""
    min_phrase_words: int = Field(default=5, ge=2)
    """A summary, or the whole of a text too short for an n-gram, is looked for when it has so many words or more."""
    max_bits: float = Field(default=40, ge=0)
    """A run of an item's words is kept when it tells no more than this, by how common its words and pairs of words are
    on pages and in items: `you don't have to worry about the` tells 35 bits, eight words of an item mostly 50 to 60."""
    max_boilerplate_words: int = Field(default=49, ge=2)
    """A run is also kept when more pages and items hold it than it has words: a phrase of many says nothing about one.
    A run of more words than this is cut, wherever else it stands."""
    max_overlap: float = Field(default=0.5, gt=0, le=1)
    """A passage of shorter runs is kept when it holds less than this of an item's n-grams, each weighted by 1 / pages
    and items it stands in."""
    min_kept_ratio: float = Field(default=0.5, ge=0, le=1)
    """A page is kept, without the cut lines, when at least this share of its characters remains."""

    @model_validator(mode="after")
    def _lengths_ascend(self) -> Self:
        if not self.min_phrase_words <= self.ngram_words <= self.max_boilerplate_words + 1:
            raise ValueError(
                f"decontaminate: min_phrase_words={self.min_phrase_words}, ngram_words={self.ngram_words} and "
                f"max_boilerplate_words={self.max_boilerplate_words} must ascend: phrases stand for items too short "
                "for an n-gram, and runs are made of n-grams"
            )
        return self

    @model_validator(mode="after")
    def _benchmarks_are_told_apart(self) -> Self:
        names = [EXAMPLES, *(file.benchmark for file in self.benchmarks)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"decontaminate.benchmarks: the name {twice[0]!r} stands for two sets of items; give one of the files "
                f"another `name`, since verdicts name items by it (`{EXAMPLES}` are the held-out ones)"
            )
        return self

    def with_benchmarks(self, files: list[ItemFile]) -> Self:
        """The same, with these files too, but for those that are listed already by path and name."""
        listed = {(file.path, file.benchmark) for file in self.benchmarks}
        new = [file for file in files if (file.path, file.benchmark) not in listed]
        return type(self).model_validate(self.model_dump() | {"benchmarks": [*self.benchmarks, *new]})

    def identity(self) -> dict[str, Any]:
        """Files stand for their content: the same items under another path are the same stage."""
        return self.model_dump(mode="json") | {
            "benchmarks": [file.identity() for file in self.benchmarks],
            "against": [_sha256("decontaminate.against", Path(path) / HELD_OUT_INDEX) for path in self.against],
        }


@dataclass(frozen=True)
class KeptOut:
    """Benchmark items that no row may teach. asked: folder with the held-out items of the stage `examples`."""

    config: DecontaminateConfig
    asked: Path | None = None


def _sha256(key: str, path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise NotHere(f"{key}: cannot read {path} ({error.strerror}); correct the path") from error
