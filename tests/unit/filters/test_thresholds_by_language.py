import pytest
from pydantic import ValidationError

from gristmill.filters.config import FilterConfig, SignalsConfig, Thresholds
from gristmill.filters.filter import rules_of, run_filter
from gristmill.filters.language_data import PAGES_WITHOUT_CONTENT, shipped_phrases, shipped_profiles, shipped_thresholds
from gristmill.filters.signals import run_signals
from gristmill.text.documents import DOCUMENT_SCHEMA, read_documents, read_shard, write_shard

LONG_WORDS = "Donaudampfschifffahrtsgesellschaftskapitän und Rindfleischetikettierungsüberwachung in der Stadt. " * 20


@pytest.fixture
def german_and_code(tmp_path):
    """One German text of long words, the same called French, and a file of program code."""
    code = "\n".join(f"def f{n}(x): return {{'a': x + {n}}}" for n in range(9))
    rows = []
    for number, (language, text) in enumerate([("de", LONG_WORDS), ("fr", LONG_WORDS), ("code", code)]):
        row = dict.fromkeys(DOCUMENT_SCHEMA.names) | {"doc_id": f"{number:016x}", "url": f"https://a.org/{number}"}
        rows.append(row | {"language": language, "text": text})
    write_shard(tmp_path / "documents" / "part-00000.parquet", rows)
    run_signals(tmp_path / "documents", tmp_path / "signals", SignalsConfig())
    return tmp_path / "signals"


REPETITION_OFF = dict.fromkeys(name for name in Thresholds.model_fields if "dup" in name or "top_" in name)


def filtered(signals, out, **settings):
    config = FilterConfig.model_validate(settings)
    report = run_filter(signals, out, config)
    return [row["language"] for row in read_documents(out)], report


def test_a_document_is_held_against_the_thresholds_of_its_language(german_and_code, tmp_path):
    own = REPETITION_OFF | {"max_mean_word_chars": 30}
    kept, report = filtered(german_and_code, tmp_path / "out", by_language={"de": own, "fr": REPETITION_OFF})
    assert kept == ["de", "code"]  # the French one has the flat 10 characters
    assert report.dropped == {"max_mean_word_chars": 1}
    (dropped,) = (row for row in read_shard(tmp_path / "out" / "verdicts.parquet") if row["decision"] == "dropped")
    assert (dropped["language"], dropped["threshold"]) == ("fr", "10.0")


def test_the_report_says_whose_thresholds_each_language_was_held_against(german_and_code, tmp_path):
    _, report = filtered(german_and_code, tmp_path / "out", by_language={"de": None})
    told = report.details["thresholds"]
    assert told["code"] == {"documents": 1, "thresholds": "its own (code)"}
    assert "English" in told["de"]["thresholds"]
    assert "English" in told["fr"]["thresholds"]


def test_code_is_judged_by_its_lines_alone(german_and_code, tmp_path):
    rules = {rule.name: rule.threshold for rule in rules_of(FilterConfig(max_toxicity=None).thresholds_for("code"))}
    # The Stack and StarCoder: 100 characters on average, 1,000 at most, a quarter letters and digits
    assert rules == {"max_mean_line_chars": 100, "max_longest_line_chars": 1000, "min_alnum_ratio": 0.25}
    settings = {"by_language": {"code": {"max_longest_line_chars": 20}, "de": None}, "min_line_punct_ratio": 0}
    kept, report = filtered(german_and_code, tmp_path / "out", **settings, **REPETITION_OFF, max_mean_word_chars=99)
    assert kept == ["de", "fr"]
    assert report.dropped == {"max_longest_line_chars": 1}


def test_what_a_configuration_says_of_a_language_wins_over_what_is_shipped():
    shipped = shipped_thresholds()["uk"]["max_mean_word_chars"]
    config = FilterConfig.model_validate({"by_language": {"uk": {"min_words": 7}}})
    assert (config.thresholds_for("uk").min_words, config.thresholds_for("uk").max_mean_word_chars) == (7, shipped)
    off = FilterConfig.model_validate({"by_language": {"uk": None}})
    assert off.thresholds_for("uk").max_mean_word_chars == FilterConfig().max_mean_word_chars
    assert config.identity() != FilterConfig().identity() != off.identity()


def test_a_configuration_read_back_from_its_dump_means_the_same():
    config = FilterConfig.model_validate({"by_language": {"uk": {"min_words": 7}, "de": None}})
    assert FilterConfig.model_validate(config.model_dump(mode="json")).overrides() == config.overrides()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"uk": {"max_wrds": 3}}, r"by_language\.uk\.max_wrds is no rule; the nearest one is max_words"),
        (
            {"de": {"min_words": 200_000}},
            r"by_language\.de: filter\.min_words=200000 is above filter\.max_words=100000",
        ),
        ({"de": {"min_words": -1}}, r"by_language\.de\.min_words: .* greater than or equal to 0"),
    ],
)
def test_overrides_that_cannot_be_meant_are_refused_with_their_place(overrides, message):
    with pytest.raises(ValidationError, match=message):
        FilterConfig.model_validate({"by_language": overrides})


def test_only_thresholds_are_rules():
    assert {rule.name[:4] for rule in rules_of(FilterConfig())} == {"min_", "max_"}
    assert "by_language" not in Thresholds.model_fields


def test_all_that_is_shipped_is_valid():
    for language in shipped_thresholds():
        FilterConfig().thresholds_for(language)
    for code, profile in shipped_profiles().items():
        assert profile["language"] == code
        assert set(profile["thresholds"]) <= set(Thresholds.model_fields), code
        assert profile["derived_from"], code
    for kinds in shipped_phrases().values():
        assert set(kinds) == set(PAGES_WITHOUT_CONTENT)
        assert all(phrase == phrase.lower().strip() != "" for phrases in kinds.values() for phrase in phrases)


def test_phrases_of_a_configuration_count_beside_the_shipped_ones():
    config = SignalsConfig(phrases={"fr": {"not_found": ["page introuvable"]}})
    found = config.languages()["fr"]["phrases"]["not_found"]
    assert {"page introuvable", "page not found"} <= set(found)
    assert config.identity() != SignalsConfig().identity()
    with pytest.raises(ValidationError, match=r"fr\.nothing is no kind of page; expected one of not_found"):
        SignalsConfig(phrases={"fr": {"nothing": ["x"]}})
    with pytest.raises(ValidationError, match="small letters"):
        SignalsConfig(phrases={"fr": {"not_found": ["Page"]}})


def test_two_characters_stand_for_a_word_where_no_spaces_part_words():
    flat, chinese = FilterConfig(), FilterConfig().thresholds_for("zh")
    assert (flat.min_words, chinese.min_words) == (50, 100)
    assert chinese.max_dup_10gram_char_ratio == flat.max_dup_5gram_char_ratio
    assert chinese.max_top_4gram_char_ratio == flat.max_top_2gram_char_ratio
    assert chinese.min_mean_word_chars is chinese.max_dup_5gram_char_ratio is None
