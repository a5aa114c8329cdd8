"""Who judges, and what is made of it: AI feedback and constitutional AI in place of the pairs that `examples` makes."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from gristmill.fingerprint import content_digest
from gristmill.judge.templates import COMPARE, CRITIQUE, RATE, REVISE, Template
from gristmill.program import Run
from gristmill.schema import Schema, StageConfig
from gristmill.tokens.config import TOKENIZER_FILES

CRITERION = "the better answer is more helpful, truthful and harmless"
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]


class EndpointJudge(Schema):
    """A server that speaks OpenAI's chat completions."""

    # what is typed into the wrong field may be a key: no error repeats it
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    kind: Literal["endpoint"] = "endpoint"
    url: str
    """Its base address, such as https://api.example.org/v1; `/chat/completions` is added."""
    model: str
    """The model's name there."""
    key_env: str | None = None
    """Name of the environment variable that holds the key, such as JUDGE_API_KEY; the key stands in no file."""
    allow_private: bool = False
    """Let the address be of this machine or a private network, and be http. Link-local ones are refused always."""
    max_tokens: PositiveInt = 512
    """Longest answer, in tokens."""
    concurrency: PositiveInt = 4
    """Questions on their way at the same time."""
    timeout_s: PositiveFloat = 60.0
    """Longest wait for one whole answer."""
    tries: PositiveInt = 5
    """Attempts for one question; after 429, a server's error or a broken connection it is asked again."""
    first_wait_s: PositiveFloat = 1.0
    """Wait before the second attempt; doubled from there, at most 60 s. `Retry-After` up to 60 s is obeyed."""

    @field_validator("url")
    @classmethod
    def _url_is_an_address_alone(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the judge's url must be https://HOST/PATH (or http:// with allow_private)")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError(
                "the judge's url may have no user, password, query or fragment: it is written into artifacts; a key "
                "belongs in the environment variable that key_env names"
            )
        return url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _key_env_is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise ValueError(
                "key_env names an environment variable, in capital letters, such as JUDGE_API_KEY; if this was the key "
                "itself, it has been written to a file: replace it with a new one"
            )
        return name

    def identity(self) -> dict[str, Any]:
        """What decides answers."""
        return self.model_dump(mode="json", include={"kind", "url", "model", "max_tokens"})


class ModelJudge(Schema):
    """A model folder on this machine, which answers greedily."""

    kind: Literal["model"] = "model"
    path: AbsolutePath | None = None
    """A Hugging Face folder with a chat template; null: the model whose answers are judged."""
    max_tokens: PositiveInt = 128
    """Longest answer, in tokens."""
    verdicts: Literal["written", "likeliest"] = "written"
    """`likeliest`: of a comparison the likeliest of the three verdict lines counts, and nothing is written: for models
    too small to end with one."""
    batch_rows: PositiveInt = 16
    """Questions answered together."""

    def identity(self) -> dict[str, Any]:
        """The model's content and stated licence in place of its path. Raises SourceUnavailable when there is none."""
        decisive = self.model_dump(mode="json", include={"kind", "max_tokens"})
        if self.verdicts != "written":
            decisive["verdicts"] = self.verdicts
        if self.path is None:
            return decisive
        from gristmill.model.origin import license_of_model

        # what is trained on its answers stands under its licence, too
        return decisive | model_content(self.path) | {"license": license_of_model(self.path)}


def model_content(folder: Path) -> dict[str, Any]:
    """What decides a model's answers, as digests: weights, tokenizer, chat template and what ends an answer.

    Raises SourceUnavailable when there is no model.
    """
    from gristmill.model.config import weights_digest

    weights = weights_digest(folder)
    present = [name for name in (*TOKENIZER_FILES, "generation_config.json") if (folder / name).is_file()]
    return {"weights": weights, "files": {name: content_digest(folder / name) for name in present}}


def _has_a_path(judge: EndpointJudge | ModelJudge) -> EndpointJudge | ModelJudge:
    if isinstance(judge, ModelJudge) and judge.path is None:
        raise ValueError("kind `model` needs a path here: there is no other model that it could mean")
    return judge


JudgeConfig = Annotated[EndpointJudge | ModelJudge, Field(discriminator="kind")]
NamedJudgeConfig = Annotated[JudgeConfig, AfterValidator(_has_a_path)]
"""One that is not the model whose answers are judged."""


def check_license(writer: EndpointJudge | ModelJudge, license: str | None, *, setting: str) -> None:
    """Raises ValueError for an endpoint whose texts are trained on and whose terms are not stated."""
    if isinstance(writer, EndpointJudge) and not license:
        raise ValueError(
            f"{setting} is missing: state the licence or terms under which the endpoint's answers may be trained on"
        )


class JudgedSamplesConfig(Schema):
    """A judge compares a model's answers to `samples` with its parent's, in both orders."""

    by: NamedJudgeConfig
    """Who judges; a `model` needs a path."""
    criterion: str = CRITERION
    """What makes an answer good, in words for the judge."""

    def identity(self) -> dict[str, Any]:
        """What decides verdicts."""
        return {"by": self.by.identity(), "criterion": self.criterion, "template": COMPARE.identity}


class JudgeFile(Schema):
    """A file of its own for a judge, as `gristmill judge` takes it."""

    judge: NamedJudgeConfig
    """Who judges."""


class ExamplePrompts(Schema):
    """What the users ask in the SFT rows of `examples`; its held-out rows give held-out pairs."""

    kind: Literal["examples"] = "examples"


class PromptFile(Schema):
    """A JSON-lines file (or `.gz`) of `prompt` (text or messages), `messages`, or Alpaca's fields."""

    kind: Literal["jsonl"] = "jsonl"
    path: AbsolutePath
    """The file; a relative path counts from where the command is started."""
    license: str = "unknown"
    """Licence of its rows, SPDX where there is one; it stays with every model that learns from what is made of them."""


class AskedConfig(StageConfig):
    """What feedback and constitution have in common: prompts, and answers sampled from the fine-tuned model."""

    prompts: ExamplePrompts | PromptFile = Field(default=ExamplePrompts(), discriminator="kind")
    """What is asked."""
    max_prompts: PositiveInt = 500
    """So many of them, drawn by the seed."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the prompts of a file that never train, at least two; and of the prompts drawn from `examples`."""
    made_pairs: bool = False
    """The pairs of `examples` train too, beside these."""
    answer_tokens: PositiveInt = 96
    """Longest sampled answer, in tokens."""
    temperature: PositiveFloat = 1.0
    """Of the sampled answers."""
    seed: int = Field(default=0, ge=0)
    """Draws prompts, answers and principles."""

    @property
    def templates(self) -> tuple[Template, ...]:
        """The prompts that are shown to the judge."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """The configuration with contents in place of paths, and the wording of the judge's prompts."""
        decisive = self.model_dump(mode="json")
        if isinstance(self.prompts, PromptFile):
            decisive["prompts"]["path"] = content_digest(self.prompts.path)
        return {**decisive, "templates": {each.name: each.identity for each in self.templates}}


class FeedbackConfig(AskedConfig):
    """AI feedback: a judge says which of two sampled answers is better (Bai et al. 2022; Lee et al. 2023)."""

    kind: Literal["ai_feedback"] = "ai_feedback"
    judge: JudgeConfig
    """Who judges."""
    by: Literal["comparison", "rubric"] = "comparison"
    """`comparison`: both are shown, in both orders, and the verdicts have to agree. `rubric`: each is rated 1–10."""
    criterion: str = CRITERION
    """What makes an answer good, in words for the judge."""
    answers_per_prompt: PositiveInt = Field(default=2, multiple_of=2)
    """Answers sampled for a prompt; each two of them are a pair."""

    @property
    def templates(self) -> tuple[Template, ...]:
        return (COMPARE,) if self.by == "comparison" else (RATE,)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "judge": self.judge.identity()}


class ConstitutionConfig(AskedConfig):
    """Constitutional AI: an answer is criticized by a principle and revised; the revision is preferred to it."""

    kind: Literal["constitution"] = "constitution"
    constitution: AbsolutePath
    """A YAML file of principles, such as pipeline_configs/constitutions/harmless.yaml."""
    reviser: JudgeConfig = ModelJudge()
    """Who criticizes and revises: the model itself, another one, or an endpoint."""
    license: str | None = None
    """Licence or terms of what an endpoint writes; needed there, for revisions are trained on. A model folder states
    its own."""
    revisions: PositiveInt = 1
    """Rounds of critique and revision, each by a principle of its own."""
    max_repetition: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of a revision's word triples that stood in it before; one with more is left out, as one is that repeats
    the marks of the question."""
    measure_toxicity: bool = True
    """Score first answers and revisions with the shipped classifier, which knows English alone."""

    @property
    def templates(self) -> tuple[Template, ...]:
        return (CRITIQUE, REVISE)

    @model_validator(mode="after")
    def _terms_are_stated(self) -> Self:
        check_license(self.reviser, self.license, setting="preferences.license")
        return self

    def identity(self) -> dict[str, Any]:
        decisive = {**super().identity(), "reviser": self.reviser.identity()}
        return {**decisive, "constitution": content_digest(self.constitution)}


class JudgedPreferencesRun(Run):
    """`run.yaml` of `python -m gristmill.judge.preferences`."""

    model: Path
    """Folder of the model whose answers are judged."""
    examples: Path
    """Folder of the examples artifact."""
    config: FeedbackConfig | ConstitutionConfig = Field(discriminator="kind")
    """What is computed."""
