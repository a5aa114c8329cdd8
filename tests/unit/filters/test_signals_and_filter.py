import hashlib
import random
import re
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import SourceUnavailable
from gristmill.filters.config import MODELS, FilterConfig, SignalsConfig, Thresholds
from gristmill.filters.filter import Rule, failed_rules, rules_of, run_filter
from gristmill.filters.language_data import shipped_thresholds
from gristmill.filters.signals import SIGNAL_FIELDS, run_signals
from gristmill.text.documents import DOCUMENT_SCHEMA, document_schema, read_documents, read_shard, write_shard

PROSE = """The mill stood where the river bends, and it had ground the grain of four villages for two hundred years.
Farmers came with their carts in autumn. They waited in the yard, talked about prices, and slept under the willows.
When the railway was opened, flour from far away became cheaper than what the old stones could make of local wheat.
The last miller kept the wheel turning for visitors; he told them that water has patience, and that people have none.
His daughter sold the house to a school. Pupils learn there today how a weir works, and why trout need cold streams.
"""
OFF = FilterConfig.model_validate(
    dict.fromkeys(Thresholds.model_fields) | {"by_language": dict.fromkeys(shipped_thresholds())}
)


def document(number: int, text: str, language: str = "en") -> dict:
    row = dict.fromkeys(DOCUMENT_SCHEMA.names)
    place = {"doc_id": f"{number:016x}", "url": f"https://a.org/{number}", "warc_file": "a.warc.gz"}
    return row | place | {"text": text, "language": language, "source": "web", "warc_offset": number}


@pytest.fixture
def documents(tmp_path) -> Path:
    """Three shards: prose, a list, shouting, German; the last shard is empty."""
    folder = tmp_path / "documents"
    rng = random.Random(0)
    words = ["market", "people", "river", "stone", "garden", "the", "of", "and", "to", "with"]
    texts = [PROSE, "- one\n- two\n" * 30, "you stupid fucking idiot, shut up you worthless moron. " * 12]
    texts += [" ".join(rng.choices(words, k=80)) + "." for _ in range(3)]
    write_shard(folder / "part-00000.parquet", [document(n, text) for n, text in enumerate(texts)])
    write_shard(folder / "part-00001.parquet", [document(10, "Der Hund und die Katze sind nicht hier. " * 9, "xx")])
    write_shard(folder / "part-00002.parquet", [])
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")}


def stored(tmp_path: Path, **signals: float | int | None) -> Path:
    """One document with these signals, as the signals stage would store them."""
    kinds = dict(SIGNAL_FIELDS)
    schema = DOCUMENT_SCHEMA
    for name in signals:
        schema = schema.append(pa.field(name, kinds[name]))
    write_shard(tmp_path / "signals" / "part-00000.parquet", [document(1, "text") | signals], schema=schema)
    return tmp_path / "signals"


def test_signals_are_added_as_columns_and_drop_no_page(documents, tmp_path):
    report = run_signals(documents, tmp_path / "out", SignalsConfig())
    assert (report.rows_in, report.rows_out, report.dropped) == (7, 7, {})
    assert sorted(digests(tmp_path / "out")) == [*(f"part-0000{n}.parquet" for n in range(3)), "verdicts.parquet"]
    assert document_schema(tmp_path / "out").names == DOCUMENT_SCHEMA.names + [name for name, _ in SIGNAL_FIELDS]
    rows = list(read_documents(tmp_path / "out"))
    assert [row["text"] for row in rows] == [row["text"] for row in read_documents(documents)]
    assert rows[2]["toxicity"] > 0.9 > 0.5 > rows[0]["toxicity"]
    verdicts = list(read_shard(tmp_path / "out" / "verdicts.parquet"))
    assert [row["decision"] for row in verdicts] == ["kept"] * 7
    assert [row["toxicity"] for row in verdicts] == [row["toxicity"] for row in rows]


def test_a_language_without_a_model_is_said_with_the_way_to_get_one(documents, tmp_path):
    report = run_signals(documents, tmp_path / "out", SignalsConfig())
    assert report.details["no_toxicity_model"]["xx"]["documents"] == 1
    remedy = report.details["no_toxicity_model"]["xx"]["remedy"]
    assert "gristmill classifier train --task toxicity --language xx" in remedy
    last = list(read_documents(tmp_path / "out"))[-1]
    assert last["toxicity"] is None
    assert last["stop_words"] is None


def test_any_number_of_workers_writes_the_same_bytes(documents, tmp_path):
    config = OFF.model_copy(update={"min_words": 70})
    for workers in (1, 2):
        run_signals(documents, tmp_path / f"signals{workers}", SignalsConfig(), workers=workers)
        run_filter(tmp_path / "signals1", tmp_path / f"filter{workers}", config, workers=workers)
    assert digests(tmp_path / "signals1") == digests(tmp_path / "signals2")
    assert digests(tmp_path / "filter1") == digests(tmp_path / "filter2")


def test_the_identity_of_signals_is_the_content_of_the_models_not_their_place(tmp_path):
    copy = tmp_path / "elsewhere.ftz"
    copy.write_bytes((MODELS / "toxicity.en.ftz").read_bytes())
    named = {"classifiers": {"toxicity": {"en": str(copy)}}}
    assert SignalsConfig.model_validate(named).identity() == SignalsConfig().identity()
    none = {"classifiers": {"toxicity": {"en": None}}}
    assert SignalsConfig.model_validate(none).identity() != SignalsConfig().identity()
    absent = SignalsConfig.model_validate({"classifiers": {"toxicity": {"de": str(tmp_path / "none.ftz")}}})
    with pytest.raises(SourceUnavailable, match=r"classifiers\.toxicity\.de.*--task toxicity --language de"):
        absent.identity()


def test_every_rule_looks_at_a_signal_that_is_measured():
    assert {rule.signal for rule in rules_of(FilterConfig())} <= {name for name, _ in SIGNAL_FIELDS}
    assert rules_of(OFF) == []


@pytest.mark.parametrize("rule", rules_of(FilterConfig(max_javascript_lines=0)), ids=lambda rule: rule.name)
def test_a_document_that_equals_a_threshold_is_kept_and_one_beyond_is_dropped(rule: Rule, tmp_path):
    beyond = rule.threshold + (-1 if rule.name.startswith("min_") else 1) * (1 if rule.threshold in (0, 1) else 0.01)
    if dict(SIGNAL_FIELDS)[rule.signal] == pa.int32():
        beyond = round(rule.threshold + (-1 if rule.name.startswith("min_") else 1))
    config = OFF.model_copy(update={rule.name: rule.threshold})
    equal = run_filter(stored(tmp_path / "=", **{rule.signal: rule.threshold}), tmp_path / "kept", config)
    assert (equal.rows_out, equal.dropped) == (1, {})
    with pytest.raises(ValueError, match=rf"none of 1 documents passed \(dropped: 1 by {rule.name}\)"):
        run_filter(stored(tmp_path / "≠", **{rule.signal: beyond}), tmp_path / "dropped", config)


def test_dropped_pages_have_a_verdict_with_the_first_rule_they_fail(documents, tmp_path):
    run_signals(documents, tmp_path / "signals", SignalsConfig())
    config = OFF.model_copy(update={"min_words": 70, "max_short_line_ratio": 0.67, "max_toxicity": 0.5})
    report = run_filter(tmp_path / "signals", tmp_path / "out", config)
    assert report.dropped == {"min_words": 1, "max_toxicity": 1}
    assert (report.rows_in, report.rows_out) == (7, 5)
    by_page = {row["doc_id"]: row for row in read_shard(tmp_path / "out" / "verdicts.parquet")}
    short = by_page[f"{1:016x}"]  # fails min_words and max_short_line_ratio
    assert (short["stage"], short["decision"], short["rule"]) == ("filter", "dropped", "min_words")
    assert (short["value"], short["threshold"], short["url"]) == ("60", "70", "https://a.org/1")
    assert float(by_page[f"{2:016x}"]["value"]) > 0.5
    kept = list(read_documents(tmp_path / "out"))
    assert kept[0]["words"] > 70


def test_a_signal_that_was_not_measured_keeps_the_page_and_is_counted(tmp_path):
    report = run_filter(stored(tmp_path, toxicity=None), tmp_path / "out", OFF.model_copy(update={"max_toxicity": 0.5}))
    assert report.rows_out == 1
    assert report.details["kept_though_not_measured"] == {"max_toxicity": 1}


def test_when_nothing_is_left_the_message_names_a_setting_that_keeps_a_page(documents, tmp_path):
    run_signals(documents, tmp_path / "signals", SignalsConfig())
    config = OFF.model_copy(update={"min_words": 5000, "max_short_line_ratio": 0.67})
    with pytest.raises(ValueError, match=r"7 by min_words") as raised:
        run_filter(tmp_path / "signals", tmp_path / "out", config)
    found = re.search(r"filter\.min_words=(\d+)", str(raised.value))
    assert found
    relaxed = config.model_copy(update={"min_words": int(found[1])})
    assert run_filter(tmp_path / "signals", tmp_path / "again", relaxed).rows_out >= 1


def test_documents_without_signals_are_refused(documents, tmp_path):
    with pytest.raises(ValueError, match=r"no column .* give filter what the signals stage wrote"):
        run_filter(documents, tmp_path / "out", FilterConfig())


def test_thresholds_that_keep_nothing_are_refused():
    with pytest.raises(ValueError, match=r"min_words=50 is above filter\.max_words=40"):
        FilterConfig(max_words=40)


def test_english_prose_passes_the_defaults(documents, tmp_path):
    run_signals(documents, tmp_path / "signals", SignalsConfig())
    prose = next(iter(read_documents(tmp_path / "signals")))
    assert list(failed_rules(prose, rules_of(FilterConfig()))) == []
