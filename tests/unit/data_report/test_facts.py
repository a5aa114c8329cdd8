"""The numbers of a data report, on a store whose every decision is known."""

from pathlib import Path

import pytest
from audited_store import address_of, doc_id, make_store

from gristmill.data_report.facts import Facts, gather
from gristmill.data_report.samples import SHOWN_CHARS
from gristmill.scope import scope_of_artifact, scope_of_run


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    store = make_store(tmp_path)
    return gather(scope_of_run(store, "test", [record.address for record in store.records()]), samples=2)


def test_the_funnel_counts_pages_in_and_left_at_every_stage(facts: Facts):
    rows = [(stage.stage, stage.rows_in, stage.rows_out, stage.share) for stage in facts.stages]
    assert rows == [
        ("ingest", 1, 1, None),
        ("extract", 8, 7, 7 / 8),
        ("signals", 7, 7, 7 / 8),
        ("filter", 7, 6, 6 / 8),
        ("dedup", 6, 4, 4 / 8),
        ("split", 4, 4, 4 / 8),
        ("tokenize", 15, 15, None),
    ]
    assert (facts.pages, facts.left) == (8, 4)


def test_every_rule_has_its_pages_its_share_and_its_share_of_each_language(facts: Facts):
    rules = {(drop.stage, drop.rule): drop for drop in facts.drops}
    assert {key: drop.pages for key, drop in rules.items()} == {
        ("extract", "language"): 1,
        ("filter", "min_words"): 1,
        ("filter", "pii:email"): 1,
        ("dedup", "duplicate_text"): 1,
        ("dedup", "duplicate_url"): 1,
    }
    assert rules["extract", "language"].by_language == {"en": 0.0, "uk": 1.0}
    assert rules["filter", "min_words"].by_language == {"en": 1 / 7}
    assert rules["filter", "min_words"].threshold == "3"
    assert facts.redacted == {"pii:email": 1}


def test_groups_add_up_to_the_pages(facts: Facts):
    for groups in (facts.languages, facts.domains, facts.sources):
        assert (sum(group.pages for group in groups), sum(group.left for group in groups)) == (8, 4)
        assert sum(group.chars for group in groups) == facts.chars
    hosts = {group.name: (group.pages, group.left) for group in facts.domains}
    assert hosts["a.example"] == (3, 2)
    assert hosts["b.example"] == (2, 0)


def test_a_signal_shows_kept_and_dropped_pages_and_its_thresholds_by_language(facts: Facts):
    (words,) = [histogram for histogram in facts.signals if histogram.name == "words"]
    assert (sum(words.kept) + sum(words.dropped) + words.outside, sum(words.dropped)) == (7, 1)
    assert [(line.rule, line.value, line.languages) for line in words.lines] == [
        ("min_words", 3.0, ()),
        ("min_words", 2.0, ("uk",)),
    ]
    assert "toxicity" not in [histogram.name for histogram in facts.signals]  # never measured here


def test_samples_show_dropped_texts_as_they_came_in_but_no_private_data_and_changed_ones_as_they_went_on(facts: Facts):
    texts = {(group.stage, group.rule): [page.text for page in group.pages] for group in facts.samples}
    assert texts["extract", "language"] == [None]
    assert texts["filter", "min_words"] == ["Ask <EMAIL>"]
    assert texts["filter", "pii:email"] == ["Write to <EMAIL> about it."]
    assert texts["dedup", "duplicate_text"] == ["The text that is kept, word by word!"]
    left = next(group for group in facts.samples if not group.rule)
    assert {page.doc_id for page in left.pages} == {doc_id(name) for name in ("one", "held", "hostile", "near")}


def test_a_long_text_is_cut_and_says_so_and_an_address_at_the_cut_is_masked_first(tmp_path: Path):
    masked = "x" * (SHOWN_CHARS - 10) + " somebody.with.a.long.name@does-not-exist.ua " + "y" * 2000
    store = make_store(tmp_path, changed={"held": masked})
    facts = gather(scope_of_artifact(store, address_of(store, "split")))
    left = {page.doc_id: page for page in facts.samples[0].pages}
    held = left[doc_id("held")]
    assert (held.cut, held.chars, len(held.text or "")) == (True, len(masked), SHOWN_CHARS)
    assert "somebody" not in (held.text or "")
    assert not left[doc_id("one")].cut


def test_a_report_on_an_artifact_ends_with_it(tmp_path: Path):
    store = make_store(tmp_path)
    facts = gather(scope_of_artifact(store, address_of(store, "filter")))
    assert [stage.stage for stage in facts.stages] == ["ingest", "extract", "signals", "filter"]
    assert facts.left == 6


def test_the_same_artifacts_give_the_same_facts_and_another_seed_other_samples(tmp_path: Path):
    store = make_store(tmp_path)
    scope = scope_of_artifact(store, address_of(store, "split"))
    assert gather(scope) == gather(scope)
    first = [gather(scope, samples=1, seed=seed).samples[0].pages[0].doc_id for seed in range(6)]
    assert len(set(first)) > 1
