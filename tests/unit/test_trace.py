"""What became of one page, told from a store whose every decision is known."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from audited_store import BATCH_ROWS, STEPS, address_of, doc_id, make_store

from gristmill.pages import nearest_urls
from gristmill.report import Report
from gristmill.scope import Scope, scope_of_artifact, scope_of_run
from gristmill.store import ArtifactStore, Recipe
from gristmill.tokens.reader import TokenShards
from gristmill.trace import PageNotFound, Story, trace
from gristmill.train.loader import BatchLoader


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return whole_run(make_store(tmp_path))


def whole_run(store: ArtifactStore) -> Scope:
    return scope_of_run(store, "test", [record.address for record in store.records()])


def decisions(story: Story) -> list[tuple[str, str]]:
    return [(event.stage, event.decision) for event in story.events]


def test_the_story_of_a_kept_page_goes_from_its_place_in_a_warc_to_its_rows(scope: Scope):
    (story,) = trace(scope, doc_id("one"))
    stages = ["ingest", "extract", "signals", "filter", "dedup", "split"]
    assert decisions(story) == [("ingest", "read"), *((stage, "kept") for stage in stages[1:])]
    assert story.events[0].measured["place"] == "web/a.warc.gz at byte 0"
    places = [(span.file, span.row_in_file, span.row, span.start, span.tokens) for span in story.spans]
    assert places == [("train/tokens-00000.npy", 0, 0, 0, 5), ("train/tokens-00000.npy", 1, 1, 0, 3)]
    assert story.end == "8 tokens in 2 rows of train"
    (other,) = trace(scope, doc_id("hostile"))
    assert [(span.file, span.row_in_file, span.row) for span in other.spans] == [
        ("train/tokens-00000.npy", 1, 1),
        ("train/tokens-00001.npy", 0, 2),
    ]


def test_training_steps_are_those_in_which_the_loader_reads_the_rows(scope: Scope):
    (story,) = trace(scope, doc_id("hostile"))
    shards = TokenShards(scope.store.path(address_of(scope.store, "tokenize")))
    loader = BatchLoader(shards, batch_rows=BATCH_ROWS, seed=0)
    expected = [step for step in range(STEPS) if {1, 2} & set(loader.row_indices(step).tolist())]
    assert [built.steps for built in story.built if built.label == "pretrain"] == [expected]
    assert [built.label for built in story.built] == ["pretrain", "sft", "register"]


@pytest.mark.parametrize(
    "spelling", ["https://a.example/one", "http://www.A.example/one/#top", "a.example/one?utm_source=x"]
)
def test_every_spelling_of_a_url_finds_all_captures_of_its_page(scope: Scope, spelling: str):
    assert [story.page["doc_id"] for story in trace(scope, spelling)] == [doc_id("one"), doc_id("again")]


def test_a_dropped_page_names_the_rule_the_value_and_what_is_kept(scope: Scope):
    (foreign,) = trace(scope, "https://b.example/foreign")
    assert foreign.end == "dropped by extract: language, measured uk 0.99, kept: en 0.65"
    assert decisions(foreign) == [("ingest", "read"), ("extract", "dropped")]
    (short,) = trace(scope, "https://sub.a.example/short")
    assert short.end == "dropped by filter: min_words, measured 2, kept: 3"
    (margin,) = short.events[-1].margins
    assert (margin.rule, margin.value, margin.threshold, margin.kept) == ("min_words", 2, 3, False)


def test_a_duplicate_names_the_page_kept_instead_and_that_page_names_its_duplicates(scope: Scope):
    (copy,) = trace(scope, doc_id("copy"))
    assert copy.events[-1].measured["kept_instead"] == {"doc_id": doc_id("one"), "url": "https://a.example/one"}
    (one,) = trace(scope, doc_id("one"))
    company = next(event for event in one.events if event.stage == "dedup").measured
    assert company["cluster_size"] == 3
    assert [(page["doc_id"], page["rule"]) for page in company["dropped_for_this"]] == [
        (doc_id("copy"), "duplicate_text"),
        (doc_id("again"), "duplicate_url"),
    ]


def test_a_page_that_does_not_train_says_so(scope: Scope):
    (held,), (near,) = trace(scope, doc_id("held")), trace(scope, doc_id("near"))
    assert (held.end, held.built) == ("held out of training and validation", [])
    assert near.end == "5 tokens in 1 row of validation: models are measured on it, none is trained on it"
    assert near.built == []


def test_a_masked_page_is_found_by_the_hash_of_the_text_it_had(scope: Scope):
    rows = pq.read_table(scope.store.path(address_of(scope.store, "extract")) / "verdicts.parquet").to_pylist()
    (before,) = [row["text_hash"] for row in rows if row["doc_id"] == doc_id("near")]
    (story,) = trace(scope, before)
    assert story.page["doc_id"] == doc_id("near")
    assert ("filter", "redacted") in decisions(story)


def test_an_unknown_page_suggests_the_nearest_ones_of_its_host_first(scope: Scope):
    with pytest.raises(PageNotFound, match=r"none of the 8 pages.*did you mean https://a\.example/one"):
        trace(scope, "https://a.example/on")
    table = scope.store.path(address_of(scope.store, "extract")) / "verdicts.parquet"
    assert nearest_urls(table, "https://a.exampl/one")[0] == "https://a.example/one"


def test_an_artifact_can_be_asked_for_what_led_to_it(scope: Scope):
    of_dedup = scope_of_artifact(scope.store, address_of(scope.store, "dedup"))
    (story,) = trace(of_dedup, doc_id("one"))
    assert [event.stage for event in story.events] == ["ingest", "extract", "signals", "filter", "dedup"]
    assert story.spans == []
    assert story.end == "kept by dedup; no later stage of this run has it"


def test_what_is_gone_from_the_store_is_named(scope: Scope):
    signals = address_of(scope.store, "signals")
    addresses = [record.address for record in scope.records]
    (scope.store.path(signals) / "record.json").unlink()
    left = scope_of_run(scope.store, "test", addresses)
    assert left.gone == (signals,)
    assert "signals" not in [event.stage for story in trace(left, doc_id("one")) for event in story.events]


def test_verdicts_of_an_earlier_gristmill_are_refused_by_name(scope: Scope):
    path = scope.store.path(address_of(scope.store, "dedup")) / "verdicts.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["decision"]), path)
    with pytest.raises(ValueError, match=r"documents/dedup-.*no column `decision`"):
        scope.judged()


def trained_again(store: ArtifactStore, inputs: dict[str, str], details: dict, steps: int = STEPS) -> str:
    """Another pretraining; inputs: name → label."""
    addresses = {name: address_of(store, label) for name, label in inputs.items()}
    config = {"pretrain": {"batch_rows": BATCH_ROWS, "seed": 0, "details": str(details)}}
    recipe = Recipe(kind="checkpoint", stage="pretrain", version=2, config=config, inputs=dict(addresses))
    report = Report(rows_in=1, rows_out=1, metrics={"steps": steps}, details=details)
    with store.building(recipe.address) as draft:
        (draft / "model.safetensors").write_bytes(b"2")
        store.publish(draft, recipe, report, label="pretrain", run="test-20260102-000000", seconds=1.0)
    return recipe.address


def steps_of(store: ArtifactStore, checkpoint: str) -> list[int] | None:
    (story,) = trace(whole_run(store), doc_id("hostile"))
    return next(built.steps for built in story.built if built.artifact == checkpoint)


def test_rows_that_are_annealed_on_are_traced_to_the_steps_of_that_phase(tmp_path: Path):
    store = make_store(tmp_path)
    shards = TokenShards(store.path(address_of(store, "tokenize")))
    loader = BatchLoader(shards, batch_rows=BATCH_ROWS, seed=0)
    reads = [step for step in range(9) if {1, 2} & set(loader.row_indices(step).tolist())]
    only = trained_again(store, {"anneal": "tokenize", "tokens": "split"}, {"anneal_begins": 4}, steps=9)
    assert steps_of(store, only) == [4 + step for step in reads if step < 5]
    both = trained_again(store, {"anneal": "tokenize", "tokens": "tokenize"}, {"anneal_begins": 4}, steps=9)
    assert steps_of(store, both) == [step for step in reads if step < 4] + [4 + step for step in reads if step < 5]


def test_a_batch_that_was_derived_is_read_from_the_report(tmp_path: Path):
    store = make_store(tmp_path)
    stated = trained_again(store, {"tokens": "tokenize"}, {"resolved": {"batch_rows": 1, "seed": 0}}, steps=3)
    loader = BatchLoader(TokenShards(store.path(address_of(store, "tokenize"))), batch_rows=1, seed=0)
    assert steps_of(store, stated) == [step for step in range(3) if {1, 2} & set(loader.row_indices(step).tolist())]


def test_steps_that_guards_left_out_or_undid_did_not_learn_the_page(tmp_path: Path):
    store = make_store(tmp_path)
    whole = trained_again(store, {"tokens": "tokenize"}, {"anneal_begins": None}, steps=9)
    steps = steps_of(store, whole)
    assert steps
    details = {"skipped": [{"step": steps[0]}], "left_out": [[steps[-1], steps[-1] + 2]]}
    guarded = trained_again(store, {"tokens": "tokenize"}, details, steps=9)
    assert steps_of(store, guarded) == [step for step in steps[1:] if step < steps[-1]]
