import gzip
import json

import pytest

from gristmill.text.config import ExtractConfig, LanguageConfig
from gristmill.text.language import LanguageIdentifier, model_path


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


def test_only_the_beginning_is_looked_at():
    identifier = LanguageIdentifier(LanguageConfig(max_chars=60))
    german = "Der schnelle braune Fuchs springt über den faulen Hund. Noch ein Satz."
    assert identifier.identify(german) == identifier.identify(german + " and very much English text follows" * 50)


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


@pytest.mark.data
def test_the_beginning_gives_the_answer_of_the_whole_text_on_real_pages(shared_data, identifier):
    whole = LanguageIdentifier(LanguageConfig(max_chars=10**7))
    with gzip.open(shared_data / "web/packed/extraction_ground_truth.jsonl.gz", "rt") as lines:
        texts = [json.loads(line).get("text") or "" for line in lines]
    texts = [text for text in texts if len(text) > 2000]
    same = sum(identifier.identify(text)[0] == whole.identify(text)[0] for text in texts)
    assert len(texts) > 100
    assert same / len(texts) >= 0.995
