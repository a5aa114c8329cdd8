"""Private data and its placeholders. Accounts and cards are examples published by their registries and issuers."""

import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.filters.config import FilterConfig, Thresholds
from gristmill.filters.filter import run_filter
from gristmill.filters.language_data import shipped_thresholds
from gristmill.filters.pii import PiiMasker
from gristmill.filters.pii_config import PiiConfig
from gristmill.text.documents import read_documents, read_shard

MASKER = PiiMasker(PiiConfig())
SENTENCES = Path(__file__).parents[3] / "benchmarks/pii_sentences.jsonl"
OFF = (
    dict.fromkeys(Thresholds.model_fields)
    | {"by_language": dict.fromkeys(shipped_thresholds())}
    | {"poisoning": {"alarm": False}}
)


def masked(text: str, language: str = "en") -> str:
    return MASKER.mask(text, language)[0]


def test_every_kind_has_a_placeholder_of_its_own():
    text = (
        "a.b@uni-musterstadt.de, tel. 020 7946 0018, from 185.220.101.47, 4111 1111 1111 1111, "
        "DE89 3704 0044 0532 0130 00, SSN 536-22-8716, " + "AKIA" + "IOSFODNN7QWERTYU"
    )
    assert masked(text) == "<EMAIL>, tel. <PHONE>, from <IP>, <CARD>, <IBAN>, SSN <SSN>, <KEY>"
    assert MASKER.mask(text, "en")[1] == Counter(["email", "phone", "ip", "card", "iban", "ssn", "key"])


@pytest.mark.parametrize("change", [-1, 1])
def test_one_wrong_digit_makes_it_no_card_and_no_account(change):
    for number, language in (("4111111111111111", "en"), ("GB29NWBK60161331926819", "en")):
        wrong = number[:-1] + str((int(number[-1]) + change) % 10)
        assert masked(f"pay {number} today", language) != f"pay {number} today"
        assert masked(f"pay {wrong} today", language) == f"pay {wrong} today"


@pytest.mark.parametrize(
    "text",
    [
        "version 8.8.8.8 and v81.169.145.78",
        "Chrome/91.0.4472.124",
        "Section 4.2.1.3",
        "at 192.168.1.1, 127.0.0.1, 10.1.2.3, ::1, fe80::1, 2001:db8::1",
        "1.3.6.1.2.1",
        "std::vector, abc::def, 00:1B:44:11:3A:B7, 12:30:45",
        "logo@2x.png, lodash@4.17.21, @app.route, git@github.com:a/b.git, jane@example.com, a@b",
        "ISBN 978-3-16-148410-0, 2021-03-14 15:09:26, 51.477928, -0.001545, 1914-1918, 12.03.2021",
        "Boston, MA 02110-1301, USA",
        "https://social.example/status/4539578763621486",
    ],
)
@pytest.mark.parametrize("language", ["en", "de", "uk", "ru", "code", None])
def test_what_only_looks_like_private_data_stays(text, language):
    assert MASKER.mask(text, language) == (text, Counter())


def test_private_networks_are_masked_where_it_is_asked_for():
    masker = PiiMasker(PiiConfig(private_ips=True))
    assert masker.mask("host 10.1.2.3, fe80::1ff:fe23:4567:890a and a::b")[0] == "host <IP>, <IP> and a::b"


def test_national_phone_numbers_are_those_of_the_languages_countries_and_the_configured_ones():
    text = "Tel. 01 42 68 53 00"
    assert masked(text, "fr") == "Tel. <PHONE>"
    assert masked(text, "uk") == text
    assert PiiMasker(PiiConfig(phone_regions=["FR"])).mask(text, "uk")[0] == "Tel. <PHONE>"
    assert masked("+33 1 42 68 53 00", "uk") == "<PHONE>"
    with pytest.raises(ValueError, match="phone_regions names ZZ"):
        PiiMasker(PiiConfig(phone_regions=["ZZ"]))


def test_a_sentence_may_go_on_right_behind_an_address():
    assert masked("write to a@uni-musterstadt.de.Then wait", "en") == "write to <EMAIL>.Then wait"
    assert masked("a@uni-musterstadt.deTel 5", "de") == "<EMAIL>Tel 5"
    assert masked("ここはmia@qa.uni-musterstadt.deに", "ja") == "ここは<EMAIL>に"


def test_in_code_numbers_are_constants():
    text = "x = 4111111111111111; call('020 7946 0018'); # a.b@uni-musterstadt.de"
    assert masked(text, "code") == "x = 4111111111111111; call('020 7946 0018'); # <EMAIL>"


@given(st.text(alphabet="ab1.@+-()[]: 4560\n/é", max_size=60), st.sampled_from(["en", "de", "ru", "code", None]))
def test_masking_twice_changes_nothing_more_and_keeps_all_else(text, language):
    spans = MASKER.find(text, language)
    once, counts = MASKER.mask(text, language)
    assert counts.total() == len(spans) == len(re.findall("<[A-Z]+>", once))
    assert all(left.end <= right.start for left, right in pairwise(spans))
    assert MASKER.mask(once, language)[0] == once


def test_a_texts_result_depends_on_that_text_alone():
    rows = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines()]
    rows = [(re.sub(r"\{\{\w+:|\}\}|§", "", row["text"]), row["language"]) for row in rows]
    fresh = [PiiMasker(PiiConfig(kinds=["email", "ip", "phone"])).mask(*row) for row in rows[::25]]
    random.Random(0).shuffle(rows)
    used = PiiMasker(PiiConfig(kinds=["email", "ip", "phone"]))
    later = {row: used.mask(*row) for row in rows}
    assert all(result in later.values() for result in fresh)


def test_the_labelled_sentences_are_found_but_for_few():
    found, truth, right = 0, 0, 0
    for line in SENTENCES.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        written = re.sub("§", "", row["text"])
        private = Counter(match[1] for match in re.finditer(r"\{\{(\w+):.*?\}\}", written))
        expected = re.sub(r"\{\{(\w+):.*?\}\}", lambda match: f"<{match[1].upper()}>", written)
        result, counts = MASKER.mask(re.sub(r"\{\{\w+:(.*?)\}\}", r"\1", written), row["language"])
        truth, found = truth + private.total(), found + counts.total()
        right += private.total() if result == expected else 0
    assert truth > 150
    assert right / truth >= 0.97
    assert found <= truth


def test_filter_masks_kept_documents_and_their_verdicts_say_so(write_documents, tmp_path):
    pages = [
        {"text": "Ask a.b@uni-musterstadt.de or c@uni-musterstadt.de, tel. 020 7946 0018.", "text_hash": "a" * 16},
        {"text": "Nobody is named here.", "text_hash": "b" * 16},
        {"text": "x@uni-musterstadt.de", "text_hash": "c" * 16, "quality": 0.1},
    ]
    documents = write_documents("documents", pages)
    config = FilterConfig.model_validate(OFF)
    report = run_filter(documents, tmp_path / "out", config)
    rows = list(read_documents(tmp_path / "out"))
    assert [row["text"] for row in rows] == [
        "Ask <EMAIL> or <EMAIL>, tel. <PHONE>.",
        "Nobody is named here.",
        "<EMAIL>",
    ]
    assert [row["text_hash"] for row in rows] == ["a" * 16, "b" * 16, "c" * 16]
    verdicts = list(read_shard(tmp_path / "out/verdicts.parquet"))
    assert [(row["decision"], row["rule"], row["value"]) for row in verdicts[:2]] == [
        ("redacted", "pii:email+phone", "email 2, phone 1"),
        ("kept", None, None),
    ]
    assert (report.rows_out, report.dropped, report.details["redacted"]) == (3, {}, {"email": 3, "phone": 1})
    untouched = run_filter(documents, tmp_path / "off", FilterConfig.model_validate(OFF | {"pii": {"kinds": []}}))
    assert untouched.details["redacted"] == {}
    assert [row["text"] for row in read_documents(tmp_path / "off")] == [page["text"] for page in pages]
