import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.filters.config import FilterConfig
from gristmill.filters.profile import Reference, find_abbreviations, find_sentence_ends, find_stop_words, make_profile
from gristmill.filters.reference_text import read_reference

WORDS = [f"{a}{b}{c}en" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


def prose(count: int, *, numbers: float = 0.0) -> list[str]:
    """Texts of eight lines of ten words; this share of the words are numbers."""
    rng = random.Random(1)
    texts = []
    for _ in range(count):
        lines = []
        for _ in range(8):
            words = [str(rng.randint(1, 999)) if rng.random() < numbers else rng.choice(WORDS) for _ in range(10)]
            lines.append("und die " + " ".join(words) + ".")
        texts.append("\n".join(lines))
    return texts


def test_thresholds_are_loosened_until_the_wanted_share_of_the_training_part_is_kept():
    made = make_profile([Reference("numbers", prose(400, numbers=0.4))], language="xx", keep=0.95)
    rule = made["rules"]["min_alpha_word_ratio"]
    assert rule["start"] == FilterConfig().min_alpha_word_ratio == 0.8
    assert 0.5 < rule["threshold"] == rule["reference_alone"] == made["thresholds"]["min_alpha_word_ratio"] < 0.8
    assert 0.85 < rule["held_out_share_kept"] <= 1  # of about 80 texts, learned from others
    assert made["held_out_share_kept"]["all_rules_of_flat_thresholds"] < 0.2


def test_thresholds_are_never_tightened():
    made = make_profile([Reference("prose", prose(300))], language="xx")
    assert made["rules"]["max_newline_word_ratio"]["reference_alone"] < 0.1
    assert made["thresholds"] == {}
    assert made["held_out_share_kept"]["all_rules"] == 1


def test_a_published_language_starts_from_what_was_published():
    made = make_profile([Reference("prose", prose(10))], language="uk")
    assert "FineWeb2" in made["thresholds_start_from"]
    assert made["rules"]["max_top_2gram_char_ratio"]["start"] == 0.086
    assert made["thresholds"]["min_sentences"] is None


def test_too_few_documents_change_no_threshold_and_the_profile_says_so():
    made = make_profile([Reference("numbers", prose(60, numbers=0.4))], language="xx")
    assert made["training_share_each_rule_keeps"] is None
    assert made["thresholds"] == {}
    assert made["rules"]["min_alpha_word_ratio"]["reference_alone"] is None


def test_the_same_texts_in_any_order_and_number_give_the_same_profile():
    texts = prose(150, numbers=0.3)
    made = make_profile([Reference("a", texts)], language="xx")
    again = make_profile([Reference("a", texts[::-1])], language="xx")
    assert made == again
    doubled = make_profile([Reference("a", texts * 2)], language="xx")
    assert {**doubled, "derived_from": None} == {**made, "derived_from": None}
    assert made["documents"]["training"] + made["documents"]["held_out"] == 150


def test_stop_words_are_those_of_most_texts_and_not_the_most_frequent():
    texts = ["the cat and the dog", "the sun and a moon", "and rain rain rain rain rain rain", "The End and the rest"]
    assert find_stop_words(texts)[:2] == ["and", "the"]
    assert "The" not in find_stop_words(texts)


def test_abbreviations_are_words_with_a_dot_behind_which_the_sentence_goes_on():
    texts = ["Er kam mit ca. 20 Leuten, d.h. allen. Sie gingen. Er ging." for _ in range(4)]
    assert find_abbreviations(texts) == ["ca", "d.h"]
    assert find_abbreviations(["Und dann... kam er. " * 5]) == []


def test_sentence_ends_are_found_at_the_ends_of_lines():
    assert find_sentence_ends(["यह है।\nक्या?", "no end\nyes.”"]) == ".?।"


def test_references_are_read_from_every_kind_of_file(tmp_path):
    rows = [{"text": "eins", "lang": "de"}, {"text": "one", "lang": "en"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("eins\nzwei\n\n\nthree\n")
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        assert read_reference(tmp_path / name).texts == ["eins", "one"]
        assert read_reference(tmp_path / name, only={"lang": "de", "label": "good"}).texts == ["eins"]
    assert read_reference(tmp_path / "a.txt").texts == ["eins\nzwei", "three"]


def test_a_reference_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:1: no text under the key 'text'; it has body"):
        read_reference(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="there is no file"):
        read_reference(tmp_path / "b.txt")
    with pytest.raises(ValueError, match=r"expected a file that ends with \.jsonl"):
        read_reference(tmp_path / "c.pdf")
    with pytest.raises(ValueError, match="no text in a"):
        make_profile([Reference("a", [])], language="xx")
