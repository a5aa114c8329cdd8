"""Which artifacts belong together."""

from pathlib import Path

from audited_store import address_of, make_store

from gristmill.scope import descendants, scope_of_artifact


def test_an_artifact_comes_after_everything_it_was_made_from(tmp_path: Path):
    store = make_store(tmp_path)
    labels = [record.label for record in scope_of_artifact(store, address_of(store, "sft")).records]
    assert labels.index("split") < labels.index("train_tokenizer") < labels.index("tokenize") < labels.index("pretrain")
    assert labels[0] == "ingest"
    assert labels[-1] == "sft"


def test_descendants_reach_through_artifacts_built_in_any_order(tmp_path: Path):
    store = make_store(tmp_path)
    records = store.records()
    newest_first = [
        record.model_copy(update={"created": records[-1 - place].created}) for place, record in enumerate(records)
    ]
    found = {record.label for record in descendants(newest_first, [address_of(store, "tokenize")])}
    assert found == {"pretrain", "sft", "evaluate", "register"}
