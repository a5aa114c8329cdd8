"""What the signals stage measures and what the filter stage keeps."""

from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, field_validator, model_validator

from gristmill.filters.classifier_config import MODELS as MODELS
from gristmill.filters.classifier_config import ClassifiersConfig
from gristmill.filters.language_data import (
    PAGES_WITHOUT_CONTENT,
    shipped_phrases,
    shipped_profiles,
    shipped_stop_words,
    shipped_thresholds,
)
from gristmill.filters.opt_out import OptOutConfig
from gristmill.filters.pii_config import PiiConfig
from gristmill.filters.poisoning_config import PoisoningConfig
from gristmill.reference_files import reference_digest
from gristmill.schema import StageConfig

TopFraction = Annotated[float, Field(gt=0, le=1)]
TopicShare = Annotated[float, Field(gt=0, lt=1)]


class SignalsConfig(StageConfig):
    """What is needed to measure a document; nothing here decides whether it is kept."""

    stop_words: dict[str, list[str]] = {}
    """Stop words by language, as they are written inside a sentence. A language not named here has those shipped
    with gristmill (de, en, ru, uk); where there are none, `stop_words` is null in its documents."""
    phrases: dict[str, dict[str, list[str]]] = {}
    """More phrases of pages without content, in small letters: language → `not_found`, `placeholder` or `consent` →
    phrases. They count beside the shipped ones, of which the English ones count for every language."""
    classifiers: ClassifiersConfig = ClassifiersConfig()
    """Models of toxicity, quality, literacy and topic, by language."""
    bad_words: dict[str, str] = {}
    """Lists of bad words by language, by path or URL: a word or phrase a line. Measured as `bad_words` and
    `bad_word_ratio`; for a language that is not listed both are null."""

    def identity(self) -> dict[str, Any]:
        """Files by the digest of their content. Raises SourceUnavailable when one cannot be read."""
        lists = {
            language: reference_digest(place, setting=f"signals.bad_words.{language}")
            for language, place in sorted(self.bad_words.items())
        }
        facts = {"classifiers": self.classifiers.identity(), "bad_words": lists, "languages": self.languages()}
        return self.model_dump(mode="json", exclude={*facts, "stop_words", "phrases"}) | facts

    def languages(self) -> dict[str, dict[str, Any]]:
        """Language → stop_words (or null), sentence_ends, abbreviations, phrases by kind of page: what is shipped, and
        what is given."""
        stop_words = shipped_stop_words() | self.stop_words
        profiles, phrases = shipped_profiles(), shipped_phrases()
        found = {}
        for code in sorted({*stop_words, *profiles, *phrases, *self.phrases}):
            lists = [phrases.get(code, {}), phrases["en"], self.phrases.get(code, {})]
            found[code] = {
                "stop_words": stop_words.get(code),
                "sentence_ends": profiles[code].get("sentence_ends", "") if code in profiles else "",
                "abbreviations": profiles[code].get("abbreviations", []) if code in profiles else [],
                "phrases": {
                    kind: sorted({phrase for each in lists for phrase in each.get(kind, ())})
                    for kind in PAGES_WITHOUT_CONTENT
                },
            }
        return found

    @field_validator("phrases")
    @classmethod
    def _kinds_are_known(cls, phrases: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
        for language, kinds in phrases.items():
            for kind, given in kinds.items():
                if kind not in PAGES_WITHOUT_CONTENT:
                    known = ", ".join(PAGES_WITHOUT_CONTENT)
                    raise ValueError(f"{language}.{kind} is no kind of page; expected one of {known}")
                if capital := next(
                    (phrase for phrase in given if phrase != phrase.lower() or not phrase.strip()), None
                ):
                    raise ValueError(f"{language}.{kind} has {capital!r}; write phrases in small letters, none empty")
        return phrases


class Thresholds(StageConfig):
    """Thresholds that a kept document fulfils; a document equal to one is kept, and null switches a rule off.

    Every field here is a rule, and nothing else is: its name is `min_` or `max_` and the signal it looks at. Rules are
    tried in the order written here, and a dropped document is counted for the first that it fails. Defaults are those
    of FineWeb for English web pages (arXiv:2406.17557).
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

    max_not_found_char_ratio: float | None = 0.3
    """Characters in sentences such as "page not found", of all characters: an error page sent as a page."""
    max_placeholder_char_ratio: float | None = 0.3
    """The same for "coming soon", "this domain is for sale" and the like."""
    max_consent_char_ratio: float | None = 0.5
    """The same for "we use cookies" and the like: a page of which a banner is left."""

    max_mean_line_chars: float | None = None
    """Characters of a line on average; for `code`, whose longer lines are data or were made by a program."""
    max_longest_line_chars: NonNegativeInt | None = None
    """Characters of the longest line; for `code`."""
    min_alnum_ratio: float | None = Field(default=None, ge=0, le=1)
    """Letters and digits, of all characters; for `code`."""

    max_toxicity: float | None = Field(default=0.5, ge=0, le=1)
    """Mean probability over the document that a passage is toxic. Null signals pass, and are counted."""
    min_quality: float | None = Field(default=None, ge=0, le=1)
    """Probability that the document is like the reference texts of the quality model."""
    min_literacy: float | None = Field(default=None, ge=0, le=1)
    """Mean probability over the document that a passage is corrected text."""
    min_topic_score: float | None = Field(default=None, ge=0, le=1)
    """Probability of the document's most probable topic."""
    max_bad_words: NonNegativeInt | None = None
    """Words of the list of bad words, each as often as it is used. 0 is C4's rule (arXiv:1910.10683)."""
    max_bad_word_ratio: float | None = Field(default=None, ge=0, le=1)
    """Such words, of all words."""

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


Overrides = dict[str, int | float | None]


class FilterConfig(Thresholds):
    """What a kept document fulfils: thresholds, also by language, and rules that look at more than one signal.

    A document's language decides its thresholds: those of `by_language`, over those that gristmill ships for it
    (de, ru, uk, `code`, and languages written without spaces), over the flat ones, which are FineWeb's for English.
    """

    by_language: dict[str, Overrides | None] = {}
    """Language → rule → threshold, such as `{de: {max_mean_word_chars: 14}}`. What is shipped for a language holds for
    the rules that are not named here (see gristmill/filters/languages); null for a language: the flat ones alone."""

    top_fraction: dict[Literal["quality", "literacy", "topic_score"], TopFraction] = {}
    """Signal → share of each language's documents that is kept, the highest first, among those that fulfil all
    thresholds; `{quality: 0.1}` is DCLM's choice (arXiv:2406.11794). Ties go by doc_id. Null signals pass."""
    topic_shares: dict[str, TopicShare] = {}
    """Topic → share of all kept documents at most. Which of its documents go is decided by a hash of their doc_id."""
    max_domain_share: float | None = Field(default=None, gt=0, le=1)
    """Share of all kept documents that one registered domain has at most, such as 0.01 for a crawl of the whole web.
    Off: only you know whether a corpus is meant to be one site. Which documents stay is decided by a hash."""
    domain_floor: PositiveInt = 1000
    """Documents that a domain keeps whatever its share: the cap is for large corpora."""

    opt_out: OptOutConfig = OptOutConfig()
    """Lists of domains, URLs and texts that are left out because somebody asked for it."""
    pii: PiiConfig = PiiConfig()
    """Private data that gives way to placeholders in kept documents."""
    poisoning: PoisoningConfig = PoisoningConfig()
    """An alarm on phrases that look planted; it drops nothing."""

    def overrides(self) -> dict[str, Overrides]:
        """Language → rule → threshold where it need not be the flat one: shipped ones under `by_language`."""
        given = {language: overrides for language, overrides in self.by_language.items() if overrides is not None}
        switched_off = {language for language, overrides in self.by_language.items() if overrides is None}
        shipped = {code: rules for code, rules in shipped_thresholds().items() if code not in switched_off}
        return {code: shipped.get(code, {}) | given.get(code, {}) for code in sorted({*shipped, *given})}

    def thresholds_for(self, language: str | None) -> Thresholds:
        """The thresholds for documents of one language."""
        flat = {name: getattr(self, name) for name in Thresholds.model_fields}
        return Thresholds.model_validate(flat | self.overrides().get(language or "und", {}))

    def identity(self) -> dict[str, Any]:
        """With the shipped thresholds: when they change, what is kept changes."""
        opt_out = self.opt_out.identity(setting="filter.opt_out")
        return self.model_dump(mode="json") | {"by_language": self.overrides(), "opt_out": opt_out}

    @model_validator(mode="after")
    def _languages_name_rules(self) -> Self:
        for language, overrides in self.by_language.items():
            for name in overrides or {}:
                if name not in Thresholds.model_fields:
                    nearest = get_close_matches(name, Thresholds.model_fields, n=1, cutoff=0)[0]
                    raise ValueError(f"by_language.{language}.{name} is no rule; the nearest one is {nearest}")
            if overrides:
                try:
                    self.thresholds_for(language)
                except ValidationError as error:
                    found = error.errors()[0]
                    place = ".".join(["by_language", language, *map(str, found["loc"])])
                    raise ValueError(f"{place}: {found['msg'].removeprefix('Value error, ')}") from error
        return self
