"""What a model is asked, wherever it answers by sampling: online alignment, test-time scaling."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from gristmill.fingerprint import content_digest
from gristmill.schema import Schema, StageConfig


class ExamplePrompts(Schema):
    """The prompts of the instruction rows that the stage `examples` made; the answer there is the reference."""

    kind: Literal["examples"] = "examples"


class JsonlPrompts(Schema):
    """A JSON-lines file (or `.gz`), one prompt a row."""

    kind: Literal["jsonl"] = "jsonl"
    path: Annotated[Path, AfterValidator(Path.absolute)]
    """The file; a relative path counts from where the command is started."""
    prompt: str = "{prompt}"
    """What is asked, with the row's fields in braces: `{Body}. {Question}`."""
    reference: str | None = None
    """The right answer, likewise: `{answer}`; null: there is none."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of rows that never train and measure the result; the filled prompt decides, as it does in `sft`."""
    license: str = "unknown"
    """Licence of the rows, SPDX where there is one; it stays with every model that is made with them."""


Prompts = Annotated[ExamplePrompts | JsonlPrompts, Field(discriminator="kind")]


class AskingConfig(StageConfig):
    """Prompts and how they are put to the model."""

    prompts: Prompts = ExamplePrompts()
    """What is asked."""
    chat: bool = True
    """Prompts go through the model's chat template; false: they are continued as they stand (base models)."""
    few_shot: NonNegativeInt = 0
    """Solved rows of the training part before each prompt; needs references."""
    stop: str | None = None
    """Text that ends an answer beside the model's own end, such as a line break; not part of the answer."""
    max_new_tokens: PositiveInt = 48
    """Longest answer."""
    held_out_prompts: PositiveInt = 100
    """Held-out prompts that measure the result."""
    seed: int = Field(default=0, ge=0)
    """Decides the order of prompts and the sampled answers; bootstrap intervals too."""

    def identity(self) -> dict[str, Any]:
        """The configuration with a file's content in place of its path."""
        decisive = self.model_dump(mode="json")
        if isinstance(self.prompts, JsonlPrompts):
            decisive["prompts"]["path"] = content_digest(self.prompts.path)
        return decisive
