import gzip
import json

import pytest

from gristmill.text.config import ExtractConfig, LanguageConfig
from gristmill.text.language import LanguageIdentifier, default_threshold, paragraphs, split_by_language
from gristmill.text.language_model import language_codes, model_path

UKRAINIAN = "Вони живуть у Києві, на широкій вулиці біля річки, і щодня їздять до школи трамваєм через міст."
RUSSIAN = "Вчера вечером мы были у друзей, пили чай с вареньем и говорили о том, как быстро вырос этот город."
ENGLISH = "The harbour was quiet in the early morning, and the boats came back one after another with their fish."
GERMAN = "Am frühen Morgen war der Hafen ruhig, und die Boote kamen eines nach dem anderen mit ihrem Fang zurück."


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier(LanguageConfig())


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The quick brown fox jumps over the lazy dog near the river.", "en"),
        ("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG NEAR THE RIVER.", "en"),
        ("Der schnelle braune Fuchs\nspringt über den faulen Hund am Fluss.", "de"),
        ("Швидкий рудий лис стрибає через ледачого пса біля річки.", "uk"),
        ("Быстрая рыжая лиса прыгает через ленивую собаку у реки.", "ru"),
    ],
)
def test_a_sentence_is_recognized(identifier, text, language):
    found, score = identifier.identify(text)
    assert found == language
    assert 0.5 < score <= 1


def test_a_beginning_that_leaves_no_doubt_is_enough():
    identifier = LanguageIdentifier(LanguageConfig(max_chars=200))
    assert identifier.identify(GERMAN) == identifier.identify(GERMAN + "\n" + ENGLISH * 50)


def test_where_the_beginning_leaves_a_doubt_the_whole_text_is_looked_at():
    identifier = LanguageIdentifier(LanguageConfig(max_chars=200))
    menu = "OK | Info | Menu | Blog | Login | Sitemap | RSS | Home | Shop | Video | Radio | TV | Sport | Foto | Links\n"
    assert identifier.identify(menu)[1] < 0.9
    assert identifier.identify(menu + GERMAN * 20)[0] == "de"


@pytest.mark.parametrize(("text", "language"), [(UKRAINIAN, "uk"), (RUSSIAN, "ru")])
def test_capitals_and_latin_twins_change_nothing(identifier, text, language):
    twins = text.translate(str.maketrans("аеіорсху", "aeiopcxy"))
    assert twins != text
    assert {identifier.identify(copy)[0] for copy in (text, text.upper(), twins, twins.upper())} == {language}


def test_letters_overrule_the_model(identifier):
    # mixed words that the model takes for Russian, with two letters that Russian has not
    text = "он и она ідут туда, і потом назад"
    (first, wrong), (second, score) = identifier._predict(text, 2)
    assert (first, second) == ("ru", "uk")
    language, overruled = identifier.identify(text)
    assert language == "uk"
    assert overruled == pytest.approx(score / (1 - wrong), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (ENGLISH, "uncertain"),
        (ENGLISH * 2, "certain"),
        (UKRAINIAN, "certain"),
        ("Жіночий одяг", "uncertain"),
        ("Γιατί δεν ήρθες χθες;", "certain"),
        ("", "uncertain"),
        ("12 34 56 " * 50, "uncertain"),
    ],
)
def test_a_short_text_is_uncertain_unless_its_alphabet_agrees(identifier, text, status):
    assert identifier.judge(text).status == status


def test_the_length_of_a_certain_text_is_configured():
    identifier = LanguageIdentifier(LanguageConfig(min_certain_chars=50))
    assert identifier.judge(ENGLISH).status == "certain"


def page(*parts: tuple[str, int]) -> str:
    """Paragraphs of 200 characters and more, between blank lines."""
    return "\n\n".join(f"{sentence} {sentence} {sentence}" for sentence, count in parts for _ in range(count))


def test_a_page_in_one_language_is_no_mixture(identifier):
    judgement = identifier.judge(page((UKRAINIAN, 12)))
    assert (judgement.language, judgement.status) == ("uk", "certain")
    assert judgement.paragraph_languages == ["uk"] * 12
    assert judgement.shares == {"uk": 12 * (3 * len(UKRAINIAN) + 2)}


@pytest.mark.parametrize("other", [ENGLISH, RUSSIAN])
@pytest.mark.parametrize(("count", "status"), [(2, "certain"), (3, "mixed")])
def test_a_page_with_more_than_a_fifth_in_another_language_is_mixed(identifier, other, count, status):
    judgement = identifier.judge(page((UKRAINIAN, 5), (other, count), (UKRAINIAN, 12 - 5 - count)))
    assert judgement.language == "uk"
    assert judgement.status == status


def test_the_share_of_other_languages_is_configured():
    identifier = LanguageIdentifier(LanguageConfig(max_other_share=0.5))
    assert identifier.judge(page((UKRAINIAN, 8), (ENGLISH, 4))).status == "certain"


def test_a_text_is_in_the_language_of_most_of_it(identifier):
    text = page((ENGLISH, 4), (UKRAINIAN, 20))
    assert identifier.identify(text)[0] == "en"
    judgement = identifier.judge(text)
    assert (judgement.language, judgement.status) == ("uk", "certain")
    assert judgement.paragraph_languages == ["en"] * 4 + ["uk"] * 20
    assert judgement.score > 0.9


def test_a_short_line_has_the_language_of_its_neighbours(identifier):
    lines = [UKRAINIAN * 3, "OK", UKRAINIAN * 3, ENGLISH * 3, "Да", ENGLISH * 3]
    assert identifier.judge("\n".join(lines)).paragraph_languages == ["uk", "uk", "uk", "en", "en", "en"]


@pytest.mark.parametrize("text", ["", " \n\n", "\n a\n\n\tb \n", "один\n\ntwo\n", "x\n" * 3000, "1\n2\n3"])
def test_every_paragraph_has_a_language(identifier, text):
    assert len(identifier.judge(text).paragraph_languages) == len(paragraphs(text))


def test_a_mixed_page_is_split_and_nothing_is_lost(identifier):
    text = "\n" + page((UKRAINIAN, 3), (ENGLISH, 3), (UKRAINIAN, 1)) + "\nI\n"
    parts = split_by_language(text, identifier.judge(text))
    assert [language for language, _ in parts] == ["uk", "en"]
    assert sorted(line for _, part in parts for line in paragraphs(part)) == sorted(paragraphs(text))
    assert dict(parts)["en"] == page((ENGLISH, 3))
    assert dict(parts)["uk"] == page((UKRAINIAN, 4)) + "\nI"


def test_a_judgement_of_another_text_is_refused(identifier):
    judgement = identifier.judge("one line")
    with pytest.raises(ValueError, match="more paragraphs"):
        split_by_language("one line\nanother", judgement)
    with pytest.raises(ValueError, match="fewer paragraphs"):
        split_by_language("", judgement)


def test_a_language_has_a_threshold_of_its_own():
    assert 0.3 <= default_threshold("bg") < default_threshold("ru") <= 0.65
    assert default_threshold("a language without sentences") == 0.5


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_a_text_without_a_word_is_undetermined(identifier, text):
    assert identifier.identify(text) == ("und", 0.0)


@pytest.mark.parametrize("text", ["\ud800 broken", "nul\0byte", "__label__de", "\u2028" * 5000])
def test_odd_text_is_no_error(identifier, text):
    identifier.identify(text)


def test_identity_names_the_content_of_a_model_and_not_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    identities = []
    for place in ("a", "b"):
        model = tmp_path / place / "model.ftz"
        model.parent.mkdir()
        model.write_bytes(model_path(LanguageConfig()).read_bytes())
        identities.append(LanguageConfig(model=str(model)).identity())
    assert identities[0] == identities[1] != LanguageConfig().identity()


def test_a_missing_or_wrong_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.bin is no file"):
        LanguageIdentifier(LanguageConfig(model=str(tmp_path / "none.bin")))
    (tmp_path / "text.bin").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.bin is no fastText model"):
        LanguageIdentifier(LanguageConfig(model=str(tmp_path / "text.bin")))


@pytest.mark.parametrize("code", ["english", "EN", "e", "", "en-us"])
def test_a_word_that_is_no_code_is_refused(code):
    with pytest.raises(ValueError, match="is no language code"):
        ExtractConfig(languages=[code])


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        # GlotLID and OpenLID: ISO 639-3 and a script
        (
            ["ukr_Cyrl", "cmn_Hani", "ekk_Latn", "als_Latn", "yue_Hani", "tgl_Latn"],
            ["uk", "zh", "et", "sq", "yue", "tl"],
        ),
        # lid.176: two letters where there are two; its als is Alemannic
        (["uk", "zh", "als", "ceb"], ["uk", "zh", "als", "ceb"]),
        (["ukr", "eng"], ["uk", "en"]),
    ],
)
def test_labels_of_a_model_become_codes(labels, codes):
    assert list(language_codes(f"__label__{label}" for label in labels).values()) == codes


def test_a_model_that_names_scripts_answers_with_codes(tmp_path):
    # lid.176 with two of its labels as GlotLID writes them: a fastText file is a stream, so their length is free
    content = model_path(LanguageConfig()).read_bytes()
    for label, renamed in ((b"__label__uk\0", b"__label__ukr_Cyrl\0"), (b"__label__de\0", b"__label__deu_Latn\0")):
        assert content.count(label) == 1
        content = content.replace(label, renamed)
    (tmp_path / "model.ftz").write_bytes(content)
    identifier = LanguageIdentifier(LanguageConfig(model=str(tmp_path / "model.ftz")))
    assert [identifier.identify(text)[0] for text in (UKRAINIAN, GERMAN, RUSSIAN)] == ["uk", "de", "ru"]


def test_what_decides_the_answer_is_in_the_identity():
    identities = [
        LanguageConfig().identity(),
        LanguageConfig(max_chars=1000).identity(),
        LanguageConfig(min_certain_chars=100).identity(),
        LanguageConfig(max_other_share=0.1).identity(),
    ]
    assert len({json.dumps(identity) for identity in identities}) == len(identities)


def lingua(shared_data, *languages: str) -> dict[str, list[str]]:
    found = {language: [] for language in languages}
    with gzip.open(shared_data / "lid/lingua_sentences.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            if row["lang"] in found:
                found[row["lang"]].append(row["text"])
    return found


@pytest.mark.data
@pytest.mark.parametrize("language", ["uk", "ru", "be", "bg", "kk"])
def test_spoilt_copies_of_sentences_cost_less_than_a_point(shared_data, identifier, language):
    def accuracy(texts):
        return sum(identifier.identify(text)[0] == language for text in texts) / len(texts)

    texts = lingua(shared_data, language)[language]
    original = accuracy(texts)
    assert original >= 0.97
    for spoilt in ([text.upper() for text in texts], [text.replace("і", "i").replace("І", "I") for text in texts]):
        assert accuracy(spoilt) >= original - 0.01


@pytest.mark.data
def test_a_text_of_sentences_in_one_language_is_never_mixed(shared_data, identifier):
    for language, texts in lingua(shared_data, "uk", "ru", "be", "hr", "no", "id", "de", "ja").items():
        for start in range(0, len(texts) - 20, 40):
            assert identifier.judge("\n".join(texts[start : start + 20])).status != "mixed", language


@pytest.mark.data
def test_the_beginning_gives_the_answer_of_the_whole_text_on_real_pages(shared_data, identifier):
    whole = LanguageIdentifier(LanguageConfig(max_chars=10**7))
    with gzip.open(shared_data / "web/packed/extraction_ground_truth.jsonl.gz", "rt") as lines:
        texts = [json.loads(line).get("text") or "" for line in lines]
    texts = [text for text in texts if len(text) > 2000]
    same = sum(identifier.identify(text)[0] == whole.identify(text)[0] for text in texts)
    assert len(texts) > 100
    assert same / len(texts) >= 0.995
