"""What a night of a series brings: files no earlier one has, by content; and the documents of all nights together."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.config import PipelineConfig
from gristmill.crawl.config import IngestConfig, WarcSource
from gristmill.crawl.nights import Night, Series, next_name, unseen
from gristmill.crawl.nights_config import NightsConfig
from gristmill.crawl.stored_nights import StoredSeries
from gristmill.filters.config import FilterConfig
from gristmill.filters.opt_out import OptOutConfig
from gristmill.forget import Forgotten, add_to_list
from gristmill.objects import Objects
from gristmill.text.corpus import run_corpus
from gristmill.text.documents import read_documents
from gristmill.tokens.mix import run_mix


@pytest.fixture
def crawl(tmp_path: Path, record: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    folder = tmp_path / "crawl"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.warc.gz").write_bytes(record(f"https://{name}.org/", name.encode()))
    return folder


def sources(crawl: Path) -> IngestConfig:
    web = {"kind": "warc", "name": "web", "weight": 1.0, "paths": [f"{crawl}/*.warc.gz"]}
    pages = {"kind": "jsonl", "name": "pages", "weight": 2.0, "paths": [f"{crawl}/pages.jsonl"]}
    return IngestConfig.model_validate({"sources": [web, pages] if (crawl / "pages.jsonl").exists() else [web]})


def night(name: str, seen: list[str]) -> Night:
    return Night(name, f"documents/dedup-{name}", f"signatures/known-{name}", seen)


def files(found: Any) -> list[str]:
    return [Path(path).name for source in found.ingest.sources for path in source.paths]


def test_a_night_brings_only_files_that_no_earlier_one_has(crawl: Path, record: Any):
    first = unseen(sources(crawl), [])
    assert first
    assert files(first) == ["a.warc.gz", "b.warc.gz"]
    nights = [night("n0001", first.seen)]
    assert unseen(sources(crawl), nights) is None
    (crawl / "c.warc.gz").write_bytes(record("https://c.org/", b"c"))
    second = unseen(sources(crawl), nights)
    assert second
    assert files(second) == ["c.warc.gz"]
    nights.append(night("n0002", second.seen))
    assert unseen(sources(crawl), nights) is None


def test_files_that_were_moved_away_after_their_night_stop_nothing(crawl: Path, record: Any):
    first = unseen(sources(crawl), [])
    assert first
    for path in crawl.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="matches no file"):
        unseen(sources(crawl), [])
    nights, said = [night("n0001", first.seen)], []
    assert unseen(sources(crawl), nights, warn=said.append) is None
    (told,) = said
    assert "matches no file" in told
    assert "nothing new comes from there" in told
    (crawl / "c.warc.gz").write_bytes(record("https://c.org/", b"c"))
    web = sources(crawl).sources[0]
    assert isinstance(web, WarcSource)
    gone = web.model_copy(update={"paths": [f"{crawl}/gone/*.warc.gz", *web.paths]})
    second = unseen(IngestConfig(sources=[gone]), nights, warn=said.append)
    assert second
    assert files(second) == ["c.warc.gz"]
    assert len(said) == 2


def test_a_file_is_known_by_its_content(crawl: Path, record: Any):
    first = unseen(sources(crawl), [])
    assert first
    nights = [night("n0001", first.seen)]
    (crawl / "a.warc.gz").rename(crawl / "moved.warc.gz")
    assert unseen(sources(crawl), nights) is None
    (crawl / "b.warc.gz").write_bytes(record("https://b.org/", b"another page by now"))
    changed = unseen(sources(crawl), nights)
    assert changed
    assert files(changed) == ["b.warc.gz"]


def test_a_source_of_another_kind_is_brought_whole_and_again_when_it_changed(crawl: Path):
    first = unseen(sources(crawl), [])
    assert first
    nights = [night("n0001", first.seen)]
    (crawl / "pages.jsonl").write_text('{"text": "One page."}\n')
    second = unseen(sources(crawl), nights)
    assert second
    assert [source.name for source in second.ingest.sources] == ["pages"]
    assert second.ingest.sources[0].weight is None
    nights.append(night("n0002", second.seen))
    assert unseen(sources(crawl), nights) is None
    (crawl / "pages.jsonl").write_text('{"text": "One page."}\n{"text": "Another."}\n')
    third = unseen(sources(crawl), nights)
    assert third
    assert [source.name for source in third.ingest.sources] == ["pages"]


def test_the_book_keeps_its_nights_in_order_and_names_the_next(tmp_path: Path):
    series = Series(tmp_path, "web")
    assert series.nights() == []
    made = [night("n0001", ["web 1"]), night("n0002", ["web 2", "pages 3"])]
    for each in made:
        series.add(each, run="nightly-20261126-013000")
    assert Series(tmp_path, "web").nights() == made
    assert Series(tmp_path, "docs").nights() == []
    assert next_name(made) == "n0003"


def book_of(root: Path, *lines: str) -> Series:
    book = root / "nights" / "web.jsonl"
    book.parent.mkdir(parents=True)
    book.write_text("".join(lines))
    return Series(root, "web")


def line(name: str, event: str = "night", end: str = "\n") -> str:
    return json.dumps({"event": event, **vars(night(name, [f"web {name}"]))}) + end


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line("n0001"), line("n0003")], "there is no n0002, but n0003"),
        ([line("n0001"), line("n0001")], "n0001 begins twice"),
        ([line("n0001", "again")], "n0001 begins nowhere"),
        ([line("n0001"), '{"event": "nigh\n', line("n0003")], "line 2 cannot be read"),
        ([line("n0001"), '{"event": "nigh\n'], "line 2 cannot be read"),
    ],
)
def test_a_book_that_lost_a_night_is_refused_with_the_way_back(tmp_path: Path, lines: list[str], said: str):
    with pytest.raises(ValueError, match=rf"web\.jsonl: {said}.*backup.*nights\.series"):
        book_of(tmp_path, *lines).nights()


def test_a_night_whose_line_was_cut_off_is_brought_again_under_its_name(tmp_path: Path):
    series = book_of(tmp_path, line("n0001"), line("n0002", end="")[:20])
    assert [each.name for each in series.nights()] == ["n0001"]
    again = night(next_name(series.nights()), ["web 2"])
    assert again.name == "n0002"
    series.add(again, run="night-20260102-030000")
    assert [each.name for each in series.nights()] == ["n0001", "n0002"]


def test_a_night_that_was_built_again_keeps_its_place_and_says_what_holds_now(tmp_path: Path):
    series = book_of(tmp_path, line("n0001"), line("n0002"))
    again = Night("n0001", "documents/dedup-2", "signatures/known-2", ["web n0001"], "warcs/ingest-1", {"dedup": {}})
    series.replace(again, run="night-20260102-030000")
    assert series.nights() == [again, night("n0002", ["web n0002"])]


@pytest.fixture
def homes(tmp_path: Path) -> list[StoredSeries]:
    """One series of a remote store, as three machines see it that share nothing else."""
    objects = Objects(f"file://{tmp_path}/store")
    return [StoredSeries(objects, tmp_path / f"home{number}", "web") for number in range(3)]


def test_a_series_in_a_store_goes_on_where_another_machine_left_it(homes: list[StoredSeries]):
    made = [night("n0001", ["web 1"]), night("n0002", ["web 2"])]
    for series, each in zip(homes, made, strict=False):
        assert next_name(series.nights()) == each.name
        series.add(each, run="night-20261126-013000")
    assert homes[2].nights() == made
    again = Night("n0001", "documents/dedup-2", "signatures/known-2", ["web 1"], "warcs/ingest-1", {"dedup": {}})
    homes[2].replace(again, run="night-20261126-013000")
    assert homes[0].nights() == [again, made[1]]


def test_of_two_machines_that_bring_a_night_at_once_the_first_ones_holds(homes: list[StoredSeries]):
    first, second, same = homes
    first.add(night("n0001", ["web 1"]), run="first")
    same.add(night("n0001", ["web 1"]), run="same")
    with pytest.raises(RuntimeError, match=r"another machine has brought n0001 .* run again"):
        second.add(night("n0001", ["web 2"]), run="second")
    assert second.nights() == [night("n0001", ["web 1"])]


@pytest.mark.parametrize(("damage", "said"), [("unlink", "has no n0001, but n0002"), ("garble", "cannot be read")])
def test_a_series_in_a_store_that_lost_a_night_is_refused(
    homes: list[StoredSeries], tmp_path: Path, damage: str, said: str
):
    for name in ("n0001", "n0002"):
        homes[0].add(night(name, [f"web {name}"]), run="night")
    place = tmp_path / "store" / "nights" / "web" / "n0001.json"
    if damage == "unlink":
        place.unlink()
    else:
        place.write_text('{"name":')
    with pytest.raises(ValueError, match=rf"nights/web {said if damage == 'unlink' else '.*' + said}"):
        homes[1].nights()


def test_the_corpus_holds_every_document_of_every_night_in_order(tmp_path: Path, write_documents: Any):
    one = write_documents("one", [{"text": f"a {n}"} for n in range(5)], shards=2)
    two = write_documents("two", [{"text": "b", "url": "https://b.org/"}])
    out = tmp_path / "out"
    report = run_corpus({"n0001": one, "n0002": two}, out)
    expected = [*read_documents(one), *read_documents(two)]
    assert list(read_documents(out)) == expected
    assert (report.rows_in, report.rows_out, report.details) == (6, 6, {"nights": {"n0001": 5, "n0002": 1}})
    verdicts = pq.read_table(out / "verdicts.parquet").to_pylist()
    assert [row["doc_id"] for row in verdicts] == [row["doc_id"] for row in expected]
    assert {row["decision"] for row in verdicts} == {"kept"}


def test_nights_with_other_columns_are_refused_by_name(tmp_path: Path, write_documents: Any):
    one = write_documents("one", [{"text": "a"}])
    two = write_documents("two", [{"text": "b", "lix": 3.0}], more={"lix": pa.float64()})
    with pytest.raises(ValueError, match=r"night n0002 have other columns than those of n0001 \(lix\)"):
        run_corpus({"n0001": one, "n0002": two}, tmp_path / "out")


@pytest.mark.parametrize("series", [{"series": "web"}, None])
def test_what_is_forgotten_leaves_the_mix_with_the_nights_that_were_filtered_before(
    tmp_path: Path, write_documents: Any, crawl: Path, series: dict[str, str] | None
):
    """Without nights the filter itself runs again, and the mix is what it was."""
    listed = tmp_path / "opt_out.txt"
    listed.touch()
    config = PipelineConfig(
        ingest=sources(crawl),
        nights=NightsConfig.model_validate(series) if series else None,
        filter=FilterConfig(opt_out=OptOutConfig(lists=[str(listed)])),
    )
    before = config.mixture.identity()
    one = write_documents("one", [{"text": "a", "url": "https://a.org/"}, {"text": "b", "url": "https://b.org/"}])
    two = write_documents("two", [{"text": "c", "url": "https://c.org/"}])
    run_corpus({"n0001": one, "n0002": two}, tmp_path / "corpus")
    add_to_list(listed, Forgotten.parse(["a.org"], [], []).entries, note="a letter")
    (tmp_path / "mix").mkdir()
    run_mix(tmp_path / "corpus", tmp_path / "mix", config.mixture)
    left = ["https://b.org/", "https://c.org/"] if series else ["https://a.org/", "https://b.org/", "https://c.org/"]
    assert [row["url"] for row in read_documents(tmp_path / "mix")] == left
    assert (config.mixture.identity() != before) is bool(series)
