import json
from pathlib import Path

import pytest

from flows.cli.main import app
from gristmill.filters.language_data import shipped_profiles
from gristmill.filters.profile import make_profile
from gristmill.filters.reference_text import read_reference


def run(*words: str | Path) -> int:
    """The command's exit code."""
    return app([str(word) for word in ("profile", *words)], result_action="return_value")


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "good.jsonl"
    rows = [{"text": f"Der Müller und die Mühle Nummer {n} stehen am Fluss. " * 8, "lang": "de"} for n in range(12)]
    rows.append({"text": "The miller and the mill.", "lang": "en"})
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_profile_writes_what_a_configuration_can_use(texts, tmp_path, capsys):
    out = tmp_path / "de.json"
    assert run(texts, "--language", "de", "--only", "lang=de", "--out", out, "--note", "a test") == 0
    made = json.loads(out.read_text())
    assert made["derived_from"][0]["texts"] == 12
    assert made["note"] == "a test"
    assert {"der", "und", "die", "am"} & set(made["stop_words"]) == {"und", "die", "am"}  # as inside a sentence
    shown = capsys.readouterr()
    assert "| min_alpha_word_ratio |" in shown.out
    assert "filter.by_language.de" in shown.err


def test_profile_prints_one_json_object_with_a_version(texts, tmp_path, capsys):
    assert run(texts, "--language", "de", "--out", tmp_path / "de.json", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema_version"] == 1
    assert printed["profile"] == json.loads((tmp_path / "de.json").read_text())


@pytest.mark.parametrize(
    ("words", "message"), [(("--keep", "1.5"), "expected a share above 0"), (("--only", "de"), "expected key=value")]
)
def test_arguments_that_cannot_be_meant_are_refused(texts, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        run(texts, "--language", "de", "--out", tmp_path / "de.json", *words)


@pytest.mark.data
@pytest.mark.parametrize(
    ("language", "files", "loosen"),
    [
        ("uk", ["uk_gec_corrected.jsonl.gz"], True),
        ("en", ["c4_sample.jsonl.gz", "ccnet_en_head_0091.jsonl.gz"], False),
    ],
)
def test_the_shipped_profiles_are_what_the_command_makes(shared_data, language, files, loosen):
    references = [read_reference(shared_data / "text" / name) for name in files]
    shipped = shipped_profiles()[language]
    assert make_profile(references, language=language, loosen=loosen, note=shipped["note"]) == shipped
    # texts that somebody corrected pass; the shares of English are those of FineWeb's thresholds, as they are
    assert shipped["held_out_share_kept"]["all_rules"] > (0.95 if language == "uk" else 0.6)
