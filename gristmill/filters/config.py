"""What the signals stage measures and what the filter stage keeps."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, NonNegativeInt, model_validator

from gristmill.errors import SourceUnavailable
from gristmill.fingerprint import file_sha256
from gristmill.schema import StageConfig

# English: Gopher's eight (arXiv:2112.11446). Others: the most frequent words that nearly every text has.
STOP_WORDS = {
    "de": ["der", "die", "und", "in", "den", "von", "zu", "das", "mit", "ist", "nicht", "auf"],
    "en": ["the", "be", "to", "of", "and", "that", "have", "with"],
    "ru": ["и", "в", "не", "на", "что", "с", "по", "как", "это", "из", "к", "для"],
    "uk": ["і", "в", "у", "не", "на", "що", "з", "до", "як", "та", "це", "для"],
}

MODELS = Path(__file__).parent / "models"


class SignalsConfig(StageConfig):
    """What is needed to measure a document; nothing here decides whether it is kept."""

    stop_words: dict[str, list[str]] = STOP_WORDS
    """Stop words by language, as they are written inside a sentence. For a language that is not listed,
    `stop_words` is null in its documents."""
    toxicity: dict[str, str | None] = {}
    """fastText models by language, as `gristmill toxicity train` writes them; null switches a language off.
    A language not named here has the model shipped with gristmill, where there is one (en), or none."""

    @property
    def toxicity_models(self) -> dict[str, Path]:
        """Model files by language: those of the configuration before the shipped ones."""
        shipped = {path.name.split(".")[1]: path for path in sorted(MODELS.glob("toxicity.*.ftz"))}
        named = {language: path and Path(path).expanduser() for language, path in self.toxicity.items()}
        return {language: path for language, path in sorted({**shipped, **named}.items()) if path}

    def identity(self) -> dict[str, Any]:
        """Models by the digest of their content. Raises SourceUnavailable when one cannot be read."""
        models = {language: _digest(language, path) for language, path in self.toxicity_models.items()}
        return {"stop_words": self.stop_words, "toxicity": models}


def _digest(language: str, path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise SourceUnavailable(
            f"signals.toxicity.{language}: cannot read {path} ({error.strerror}); correct the path, "
            f"or make a model with `gristmill toxicity train --language {language}`"
        ) from error


class FilterConfig(StageConfig):
    """Thresholds that a kept document fulfils; a document equal to one is kept, and null switches a rule off.

    A rule's name is `min_` or `max_` and the signal it looks at. Rules are tried in the order written here, and a
    dropped document is counted for the first that it fails. Defaults are those of FineWeb for English web pages
    (arXiv:2406.17557); documentation, lists and other languages need their own.
    """

    max_dup_paragraph_ratio: float | None = 0.3
    """Paragraphs that occurred before in the document, of all its paragraphs."""
    max_dup_paragraph_char_ratio: float | None = 0.2
    """Characters in such paragraphs, of all characters."""
    max_dup_line_ratio: float | None = 0.3
    """Lines that occurred before, of all lines; empty ones are not counted."""
    max_dup_line_char_ratio: float | None = 0.2
    """Characters in such lines, of all characters."""
    max_top_2gram_char_ratio: float | None = 0.2
    """Characters in all occurrences of the most frequent pair of words, of all characters."""
    max_top_3gram_char_ratio: float | None = 0.18
    """The same for three words."""
    max_top_4gram_char_ratio: float | None = 0.16
    """The same for four words."""
    max_dup_5gram_char_ratio: float | None = 0.15
    """Characters in sequences of five words that occurred before, of all characters."""
    max_dup_6gram_char_ratio: float | None = 0.14
    """The same for six words."""
    max_dup_7gram_char_ratio: float | None = 0.13
    """The same for seven words."""
    max_dup_8gram_char_ratio: float | None = 0.12
    """The same for eight words."""
    max_dup_9gram_char_ratio: float | None = 0.11
    """The same for nine words."""
    max_dup_10gram_char_ratio: float | None = 0.1
    """The same for ten words."""

    min_words: NonNegativeInt | None = 50
    """Words, symbols not counted."""
    max_words: NonNegativeInt | None = 100_000
    """Words, symbols not counted."""
    min_mean_word_chars: float | None = 3.0
    """Characters of a word on average, symbols not counted."""
    max_mean_word_chars: float | None = 10.0
    """Characters of a word on average, symbols not counted."""
    max_hash_word_ratio: float | None = 0.1
    """Signs `#` for each word."""
    max_ellipsis_word_ratio: float | None = 0.1
    """Ellipses for each word."""
    max_bullet_line_ratio: float | None = 0.9
    """Lines that begin with a bullet or a hyphen, of all lines."""
    max_ellipsis_line_ratio: float | None = 0.3
    """Lines that end with an ellipsis, of all lines."""
    min_alpha_word_ratio: float | None = 0.8
    """Words with at least one letter, of all words and symbols."""
    min_stop_words: NonNegativeInt | None = 2
    """Different stop words of the document's language."""

    min_sentences: NonNegativeInt | None = 5
    """Sentences in the lines that C4 looks at: three words at least, no JavaScript, cookie or privacy notices."""
    max_lorem_ipsum_lines: NonNegativeInt | None = 0
    """Lines with "lorem ipsum"."""
    max_curly_bracket_lines: NonNegativeInt | None = 0
    """Lines of three words or more with an opening curly bracket: mostly program code."""
    max_javascript_lines: NonNegativeInt | None = None
    """Lines with "javascript". Off: FineWeb removes such lines, not their pages."""

    min_line_punct_ratio: float | None = 0.12
    """Lines that end with a sentence's punctuation, of all lines that are not blank."""
    max_short_line_ratio: float | None = 0.67
    """Lines of 30 characters or fewer, of all lines that are not blank."""
    max_dup_filled_line_char_ratio: float | None = 0.01
    """Characters in lines that occurred before, blank ones left out, of all characters but newlines."""
    max_newline_word_ratio: float | None = 0.3
    """Newlines for each word: much of a list is not prose."""

    max_toxicity: float | None = Field(default=0.5, ge=0, le=1)
    """Mean probability over the document that a passage is toxic. Null signals pass, and are counted."""

    @model_validator(mode="after")
    def _something_can_be_kept(self) -> Self:
        for signal in ("words", "mean_word_chars"):
            low, high = getattr(self, f"min_{signal}"), getattr(self, f"max_{signal}")
            if low is not None and high is not None and low > high:
                raise ValueError(
                    f"filter.min_{signal}={low} is above filter.max_{signal}={high}, so no document could be kept; "
                    "the first must not be larger than the second"
                )
        return self
