"""Who holds the pages of a domain, a URL or a text, and what is written to the opt-out list."""

import shutil
from pathlib import Path

import pytest
from audited_store import address_of, doc_id, make_store

from gristmill.errors import ConfigError
from gristmill.filters.opt_out import OptOut, OptOutConfig
from gristmill.forget import Forgotten, Holdings, add_to_list, holdings
from gristmill.store import ArtifactStore
from gristmill.text.documents import read_documents
from gristmill.text.words import text_hash


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return make_store(tmp_path)


def look(store: ArtifactStore, *, domain: str = "", url: str = "", hash: str = "") -> Holdings:
    return holdings(store, Forgotten.parse(filter(None, [domain]), filter(None, [url]), filter(None, [hash])))


def counts(found: Holdings) -> dict[str, dict[str, int]]:
    return {each.label: each.pages for each in found.found}


def test_a_domain_is_counted_in_every_artifact_from_the_warc_to_the_registered_model(store: ArtifactStore):
    found = look(store, domain="a.example")
    assert found.pages == 4  # one, short on a subdomain, held, again; nota.example is another domain
    assert counts(found) == {
        "ingest": {"": 4},
        "extract": {"": 4},
        "signals": {"": 4},
        "filter": {"": 3},
        "dedup": {"": 2},
        "split": {"held_out": 1, "train": 1},
        "train_tokenizer": {"": 1},
        "tokenize": {"train": 1},
        "pretrain": {"": 1},
        "sft": {"": 1},
        "evaluate": {"": 1},
        "register": {"": 1},
    }
    assert found.unknown == {}


def test_a_page_that_only_validates_is_in_an_evaluation_and_in_no_model(store: ArtifactStore):
    labels = counts(look(store, domain="nota.example"))
    assert labels["tokenize"] == {"validation": 1}
    assert "evaluate" in labels
    assert not {"pretrain", "sft", "register", "train_tokenizer"} & labels.keys()


def test_a_page_that_extract_dropped_lies_in_the_warc_alone(store: ArtifactStore):
    assert counts(look(store, url="http://www.b.example/foreign")) == {"ingest": {"": 1}}


def test_a_url_is_one_page_in_all_its_captures_and_copies_elsewhere_are_counted_apart(store: ArtifactStore):
    found = look(store, url="https://a.example/one#part")
    assert (found.pages, found.copies) == (2, 1)  # both captures; the copy stands on b.example
    by_hash = look(store, hash=text_hash("The text that is kept, word by word"))
    assert (by_hash.pages, by_hash.copies) == (2, 0)
    assert counts(by_hash)["sft"] == {"": 1}


def test_a_page_whose_text_was_masked_is_still_found_by_the_hash_of_its_text(store: ArtifactStore):
    found = look(store, hash=text_hash("Write to somebody@example.org about it."))
    assert counts(found)["tokenize"] == {"validation": 1}


def test_what_cannot_be_looked_into_is_named_and_not_called_free(store: ArtifactStore):
    tokens, pretrain, sft = (address_of(store, label) for label in ("tokenize", "pretrain", "sft"))
    shutil.rmtree(store.path(tokens))
    found = look(store, domain="a.example")
    assert tokens in found.unknown[pretrain]
    assert pretrain in found.unknown[sft]


def test_warcs_that_were_never_extracted_are_named(store: ArtifactStore):
    shutil.rmtree(store.path(address_of(store, "extract")))
    assert address_of(store, "ingest") in look(store, domain="a.example").unknown


def test_nothing_found_is_an_empty_answer(store: ArtifactStore):
    found = look(store, domain="elsewhere.example")
    assert (found.pages, found.found, found.copies) == (0, [], 0)


def test_a_pattern_reaches_all_pages_whose_url_begins_so(store: ArtifactStore):
    assert look(store, url="https://a.example/*").pages == 3  # one, held, again; not the subdomain


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("domain", "https://example.org/page"),
        ("domain", "nonsense"),
        ("url", "nonsense"),
        ("hash", "12"),
        ("domain", "a b.c"),
    ],
)
def test_what_is_no_domain_url_or_hash_is_refused(kind: str, value: str):
    with pytest.raises(ConfigError, match=f"--{kind}: "):
        Forgotten.parse(*([value] if kind == name else [] for name in ("domain", "url", "hash")))


def test_what_forget_lists_is_what_the_list_it_writes_leaves_out(store: ArtifactStore, tmp_path: Path):
    forgotten = Forgotten.parse(["WWW.a.example."], ["b.example/copy"], [])
    path = tmp_path / "opt_out.txt"
    add_to_list(path, forgotten.entries, note="2026-01-01 #1 on the list")
    listed = OptOut.read(OptOutConfig(lists=[str(path)]), setting="filter.opt_out")
    documents = store.path(address_of(store, "extract"))
    left_out = {row["doc_id"] for row in read_documents(documents) if listed.refuse(row)}
    assert left_out == {doc_id(name) for name in ("one", "copy", "short", "held", "again")}
    (extract,) = [each for each in holdings(store, forgotten).found if each.label == "extract"]
    assert extract.total == len(left_out)


def test_forgetting_nothing_is_refused():
    with pytest.raises(ConfigError, match="nothing to forget"):
        Forgotten.parse([], [], [])


def test_the_list_keeps_what_it_had_and_gets_each_entry_once(tmp_path: Path):
    path = tmp_path / "lists" / "opt_out.txt"
    assert add_to_list(path, ["domain:a.example"], note="2026-01-01 asked\nby letter") == ["domain:a.example"]
    path.write_text(path.read_text() + "# by hand\nurl:https://b.example/#part", encoding="utf-8")
    added = add_to_list(path, ["domain:A.example", f"hash:{doc_id('one')}", "url:http://b.example"], note="x")
    assert added == [f"hash:{doc_id('one')}"]
    assert path.read_text().splitlines() == [
        "domain:a.example  # 2026-01-01 asked by letter",
        "# by hand",
        "url:https://b.example/#part",
        f"hash:{doc_id('one')}  # x",
    ]


def test_a_list_with_a_line_that_is_no_entry_is_not_written_to(tmp_path: Path):
    path = tmp_path / "opt_out.txt"
    path.write_text("example.org\n")
    with pytest.raises(ValueError, match=r"opt_out\.txt:1: 'example\.org' is no entry"):
        add_to_list(path, ["domain:a.example"], note="")
    assert path.read_text() == "example.org\n"
