"""Benchmarks that EleutherAI's lm-evaluation-harness asks: on local files by a definition, or on the hub by name.

A definition is a file of `pipeline_configs/benchmarks/`: it pins all that moves a score (template, prefix token, number
and seed of examples, what counts as the answer) and has a version. Fields that lm-eval has too bear lm-eval's names.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from gristmill.errors import ConfigError
from gristmill.fingerprint import content_digest
from gristmill.schema import Schema
from gristmill.yaml import load_yaml

FOLDERS = (Path("pipeline_configs/benchmarks"), Path(__file__).parents[2] / "pipeline_configs" / "benchmarks")
NAME = r"^[a-z][a-z0-9_]*$"

HarnessMetric = Literal[
    "acc", "acc_norm", "perplexity", "exact_match", "number", "all_followed", "followed_share", "same_language"
]


class LocalItems(Schema):
    """A JSON-lines file (or `.gz`) of items, with whatever fields the templates name."""

    kind: Literal["jsonl"] = "jsonl"
    path: Annotated[Path, AfterValidator(Path.absolute)]
    """The file; a relative path counts from where the command is started."""


class HarnessBenchmark(Schema):
    """A benchmark on a local file, asked by lm-evaluation-harness; a name stands for a file in
    `pipeline_configs/benchmarks/`, and `{extends: piqa, name: piqa_five_shot, num_fewshot: 5}` changes one."""

    kind: Literal["harness"] = "harness"
    name: str = Field(pattern=NAME)
    """Begins the names of its metrics."""
    version: PositiveInt = 1
    """Goes up with every change that moves scores. Numbers of two versions do not compare."""
    about: str = ""
    """What it asks, whose template it is, and what differs from the published one."""
    data: LocalItems
    """Where items come from."""
    output_type: Literal["multiple_choice", "loglikelihood", "generate_until"] = "multiple_choice"
    """`multiple_choice`: which choice is likeliest. `loglikelihood`: is each token of the target the likeliest one.
    `generate_until`: the model answers, greedily."""
    doc_to_text: str
    """The prompt, a Jinja template over an item's fields, or the name of one. Where that is a number (Winograd
    schemas), choices are beginnings, and the target goes on from them."""
    doc_to_target: str
    """The right answer, or its index among the choices."""
    doc_to_choice: str | None = None
    """The choices, for `multiple_choice`."""
    target_delimiter: str = " "
    """Stands between prompt and answer."""
    num_fewshot: int = Field(default=0, ge=0)
    """Other items of the file, with their answers, before each."""
    fewshot_seed: int = Field(default=1234, ge=0)
    """Which ones."""
    fewshot_delimiter: str = "\n\n"
    """Stands between them."""
    metrics: list[HarnessMetric] = ["acc"]
    """What is reported; the first decides whether an item counts as right. lm-eval's: `acc` takes the likeliest choice,
    `acc_norm` the likeliest per character, `perplexity` is of whole targets. Ours, of generated answers: `exact_match`,
    `number` (the last one is the right one), `all_followed` and `followed_share` (IFEval's instructions), and
    `same_language` (as the prompt)."""
    until: list[str] = ["\n\n"]
    """What ends a generated answer."""
    max_gen_toks: PositiveInt = 256
    """Its longest, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """Above 0 an answer is drawn, with `evaluate.seed`."""
    answer_pattern: str = "(?s)(.+)"
    """Regular expression whose last match (its group), stripped, is the answer."""
    prefix: Literal["tokenizer", "always"] = "tokenizer"
    """Where the token that begins a document stands. `tokenizer`, lm-eval's rule: where the tokenizer puts it by
    itself, and before an answer that has no prompt. `always`: before every prompt, as documents begin in training."""
    format: Literal["plain", "chat"] = "plain"
    """`chat`: the prompt is the user's turn, where `evaluate.chat` is on."""
    chance: float | None = Field(default=None, ge=0, lt=1)
    """Accuracy of a blind guess. With it, `(accuracy − chance) / (1 − chance)` is reported too."""
    core: bool = False
    """Counts for the mean of such numbers, `core_mean`."""
    group_by: str | None = None
    """Field of an item; accuracy is given for each of its values too, in the details."""
    minus: str | None = None
    """Name of another benchmark: accuracy here minus accuracy there is reported, when both are asked."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        allowed = {
            "multiple_choice": {"acc", "acc_norm"},
            "loglikelihood": {"acc", "perplexity"},
            "generate_until": {"exact_match", "number", "all_followed", "followed_share", "same_language"},
        }[self.output_type]
        if not self.metrics or set(self.metrics) - allowed or self.metrics[0] == "perplexity":
            raise ValueError(
                f"{self.name}: metrics={self.metrics} do not fit output_type={self.output_type}; give some of "
                f"{', '.join(sorted(allowed))}, and first the one that says whether an item was answered rightly"
            )
        if (self.doc_to_choice is not None) != (self.output_type == "multiple_choice"):
            raise ValueError(f"{self.name}: doc_to_choice belongs to output_type=multiple_choice, and only there")
        return self

    @property
    def definition(self) -> dict[str, Any]:
        """What of it moves an item's answer, but for the items, the number of examples, the first token and the
        format."""
        said_elsewhere = {"kind", "name", "version", "about", "data", "num_fewshot", "prefix", "format"}
        decides_no_item = {"metrics", "chance", "core", "group_by", "minus"}
        dumped = self.model_dump(mode="json", exclude=said_elsewhere | decides_no_item)
        return dumped | {"metric": self.metrics[0]}

    def identity(self) -> dict[str, Any]:
        """A file stands for its content; what is said about the benchmark decides nothing."""
        return self.model_dump(mode="json", exclude={"about"}) | {
            "data": {"kind": "jsonl", "path": content_digest(self.data.path)}
        }


class HubBenchmark(Schema):
    """A task of lm-evaluation-harness as it comes; its items are downloaded from the Hugging Face hub.

    Decontamination does not see such items, so nothing is promised of them, and the key does not know their content.
    """

    kind: Literal["hub"] = "hub"
    name: str = Field(pattern=NAME)
    """Begins the names of its metrics."""
    task: str
    """lm-eval's name of it, such as `hellaswag` (`lm_eval ls tasks` lists them)."""
    metric: str = "acc"
    """The metric of the task that says whether an item was answered rightly."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Examples before each item; null: as the task has it."""
    fewshot_seed: int = Field(default=1234, ge=0)
    """Which ones."""

    @property
    def definition(self) -> dict[str, Any]:
        """What of it moves an item's answer, but for the number of examples."""
        return self.model_dump(mode="json", exclude={"kind", "name", "num_fewshot"})

    def identity(self) -> dict[str, Any]:
        """As it stands: what lies on the hub cannot be looked at beforehand."""
        return self.model_dump(mode="json") | {"data": {"kind": "hub"}}


def described(entry: Any) -> Any:
    """An entry of `evaluate.benchmarks` as it was written, with the definition it names in its place.

    Raises ConfigError when there is no such definition.
    """
    if isinstance(entry, str):
        return definition(entry)
    if isinstance(entry, dict) and "extends" in entry:
        changed = {name: value for name, value in entry.items() if name != "extends"}
        return definition(entry["extends"]).model_dump() | changed
    if isinstance(entry, dict):
        return {"kind": "multiple_choice", **entry}
    return entry


def definition(name: str) -> HarnessBenchmark:
    """The definition of that name, or in that file. Raises ConfigError when there is none, or it is not one."""
    if name.endswith((".yaml", ".yml")):
        return load_yaml(Path(name), [], HarnessBenchmark)
    for folder in FOLDERS:
        if (folder / f"{name}.yaml").is_file():
            return load_yaml(folder / f"{name}.yaml", [], HarnessBenchmark)
    known = sorted({path.stem for folder in FOLDERS for path in folder.glob("*.yaml")})
    raise ConfigError(
        f"there is no benchmark {name!r}; pipeline_configs/benchmarks/ has {', '.join(known)}. A task of the hub is "
        "written {kind: hub, name: …, task: …}"
    )
