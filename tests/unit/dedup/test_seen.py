"""`gristmill seen` finds what the corpus holds; datasketch's own index is the reference."""

import json
import random

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from generated_pages import altered, prose

from flows.cli.main import app
from gristmill.dedup.bands import shingles
from gristmill.dedup.config import SignaturesConfig
from gristmill.dedup.seen import Question, SeenIndex, StoredBand, read_questions
from gristmill.dedup.signatures import Signatures
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe
from gristmill.text.scanned_words import scanned_word_hashes
from gristmill.text.words import words


@pytest.fixture
def pages() -> list[dict]:
    return [
        {"doc_id": f"{number:03d}", "url": f"https://a.org/{number}", "text": " ".join(prose(number))}
        for number in range(150)
    ]


@pytest.fixture
def known(write_documents, deduplicate, pages):
    return deduplicate(write_documents("documents", pages, shards=3)).known


def python_jaccard(left: str, right: str) -> float:
    sets = [{tuple(found[n : n + 5]) for n in range(len(found) - 4)} for found in (words(left), words(right))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_the_stored_bands_propose_what_datasketch_proposes_from_memory(known, pages):
    reference = MinHashLSH(num_perm=256, params=(32, 8))
    config = SignaturesConfig()

    def sketch(text: str) -> MinHash:
        made = MinHash(num_perm=256, seed=config.seed, hashfunc=int, scheme="affine32")
        made.update_batch(shingles(scanned_word_hashes(text), 5))
        return made

    for page in pages:
        reference.insert(page["doc_id"], sketch(page["text"]))
    index = SeenIndex({"signatures/known-0": known})
    assert len(index) == 150
    sizes = set()
    for number in range(150):
        asked = " ".join(altered(prose(number), changes=number // 3, seed=number))
        answer = index.ask(Question("asked", asked))
        found = {each.doc_id: each.jaccard for each in answer.neighbours}
        assert set(found) == set(reference.query(sketch(asked)))
        for doc_id, similarity in found.items():
            assert similarity == pytest.approx(python_jaccard(asked, pages[int(doc_id)]["text"]))
        sizes.add(len(found))
    assert sizes == {0, 1}


def test_the_nearest_of_several_artifacts_comes_first(write_documents, deduplicate):
    text = prose(1)
    near = altered(text, changes=9, seed=4)
    first = deduplicate(write_documents("one", [{"doc_id": "near", "text": " ".join(near)}])).known
    second = deduplicate(
        write_documents("two", [{"doc_id": "same", "url": "https://www.b.org/x", "text": " ".join(text)}])
    ).known
    index = SeenIndex({"signatures/known-1": first, "signatures/known-2": second})
    answer = index.ask(Question("page", " ".join(text), url="http://b.org/x/"))
    assert [(each.artifact, each.doc_id) for each in answer.neighbours] == [
        ("signatures/known-2", "same"),
        ("signatures/known-1", "near"),
    ]
    assert answer.neighbours[0].jaccard == 1
    assert answer.neighbours[0].url == "https://www.b.org/x"
    assert answer.seen(0.8)
    assert [each.doc_id for each in answer.same_url] == ["same"]
    other = index.ask(Question("page", " ".join(prose(2)), url="http://b.org/x/"))
    assert not other.seen(0.01)
    assert [(each.doc_id, each.jaccard) for each in other.same_url] == [("same", 0)]
    assert index.ask(Question("empty", "…")).words == 0


def test_the_storage_cannot_be_changed(known):
    band = StoredBand(Signatures.open([known]).shards, 0)
    assert not band.has_key(np.zeros(8, ">u4").tobytes())
    with pytest.raises(TypeError, match="not listed or changed"):
        band.insert(b"", 1)


def test_questions_are_read_from_text_html_and_json_lines(tmp_path):
    body = " ".join(prose(3, 120))
    (tmp_path / "a.txt").write_text(body)
    (tmp_path / "page").write_text(f"<!doctype html><html><body><article><p>{body}</p></article></body></html>")
    (tmp_path / "b.jsonl").write_text('{"text": "one", "url": "https://a.org"}\n{"text": "two"}\n')
    assert [question.text for question in read_questions(tmp_path / "a.txt")] == [body]
    assert [words(question.text) for question in read_questions(tmp_path / "page")] == [words(body)]
    rows = list(read_questions(tmp_path / "b.jsonl"))
    assert [(row.name, row.text, row.url) for row in rows] == [
        ("b.jsonl:1", "one", "https://a.org"),
        ("b.jsonl:2", "two", None),
    ]
    (tmp_path / "c.jsonl").write_text('{"body": 1}\n')
    with pytest.raises(ValueError, match='expected an object with "text", found the keys body'):
        list(read_questions(tmp_path / "c.jsonl"))


@pytest.fixture
def home(tmp_path, monkeypatch, known):
    """A store with one known artifact."""
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    shelf = ArtifactStore(tmp_path / "home")
    recipe = Recipe(kind="signatures", stage="known", version=1, config={}, inputs={})
    with shelf.building(recipe.address) as draft:
        for path in known.rglob("*"):
            target = draft / path.relative_to(known)
            if path.is_file() and ".done" not in path.parts:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        report = Report(rows_in=1, rows_out=1)
        shelf.publish(draft, recipe, report, label="known", run="test", seconds=1.0)
    return recipe.address


def run(*asked: object) -> int:
    return app(["seen", *map(str, asked)], result_action="return_value")


def test_the_command_names_document_similarity_url_and_artifact(home, tmp_path, capsys):
    draws = random.Random(1)
    rows = [
        {"text": " ".join(altered(prose(7), changes=5, seed=1))},
        {"text": " ".join(draws.choices("abcdefg", k=50))},
    ]
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["documents"] == 150
    first, second = told["pages"]
    expected = python_jaccard(rows[0]["text"], " ".join(prose(7)))
    assert first["seen"]
    assert first["neighbours"] == [
        {"artifact": home, "doc_id": "007", "url": "https://a.org/7", "jaccard": pytest.approx(expected)}
    ]
    assert (second["seen"], second["neighbours"]) == (False, [])
    assert run(path, "--threshold", "0.99") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "asked.jsonl:1: not seen at 0.99"
    assert shown[1] == f"  {expected:.3f}  007  https://a.org/7  {home}"
    assert shown[2] == "asked.jsonl:2: not seen; no known page shares a band with it"


def test_without_a_known_artifact_the_command_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("a b c")
    with pytest.raises(ValueError, match="run a flow to its stage known"):
        run(tmp_path / "a.txt")
