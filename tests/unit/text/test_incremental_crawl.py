"""A second crawl that shares files with the first: only what is new is read, and the result is that of all at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.crawl.config import IngestConfig
from gristmill.crawl.ingest import run_ingest
from gristmill.filters import filter as filter_stage
from gristmill.filters import signals as signals_stage
from gristmill.filters.config import FilterConfig, SignalsConfig, Thresholds
from gristmill.filters.filter import run_filter
from gristmill.filters.signals import run_signals
from gristmill.report import Report
from gristmill.shard_cache import ShardCache
from gristmill.store import ArtifactStore, Recipe
from gristmill.text import extract as extract_stage
from gristmill.text.config import ExtractConfig
from gristmill.text.extract import run_extract

FAST = ExtractConfig(mode="fast")


def page(number: int) -> bytes:
    words = [
        f"The miller of village {number} grinds sack {n} of the grain that farmer {n * 7} has brought."
        for n in range(30)
    ]
    return ("<html><body><main>" + "".join(f"<p>{text}</p>" for text in words) + "</main></body></html>").encode()


class Mill:
    """The stages that work shard by shard, published as the tasks do; `computed` has a name for each shard computed."""

    def __init__(self, root: Path, crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.crawl, self.computed = ArtifactStore(root), crawl, []
        for module, name in (
            (extract_stage, "_extract_shard"),
            (signals_stage, "_measure_shard"),
            (filter_stage, "_filter_shard"),
        ):
            monkeypatch.setattr(module, name, self._counting(getattr(module, name)))

    def run(self, files: list[str], *, reuse: bool = True, **filters: object) -> dict[str, bytes]:
        """All files of the artifacts that come of these WARC files, without records."""
        sources = [{"kind": "warc", "name": f"web-{name[0]}", "paths": [str(self.crawl / name)]} for name in files]
        ingest = IngestConfig.model_validate({"sources": sources})
        filtered = FilterConfig.model_validate(dict.fromkeys(Thresholds.model_fields) | filters)
        key = f"{files} {reuse}"
        warcs = self._publish("ingest", key, lambda out, cache: run_ingest(out, ingest), reuse)
        texts = self._publish("extract", key, lambda out, cache: run_extract(warcs, out, FAST, cache=cache), reuse)
        measured = self._publish(
            "signals", key, lambda out, cache: run_signals(texts, out, SignalsConfig(), cache=cache), reuse
        )
        kept = self._publish("filter", key, lambda out, cache: run_filter(measured, out, filtered, cache=cache), reuse)
        return {
            f"{stage}/{path.relative_to(folder)}": path.read_bytes()
            for stage, folder in (("extract", texts), ("signals", measured), ("filter", kept))
            for path in folder.rglob("*")
            if path.is_file() and path.name != "record.json"
        }

    def _publish(self, stage: str, key: str, build: Callable[..., Report], reuse: bool) -> Path:
        recipe = Recipe(kind="documents", stage=stage, version=1, config={"of": key}, inputs={})
        cache = ShardCache(self.store.root / ".shards" / f"{stage}-0") if reuse else None
        with self.store.building(recipe.address) as draft:
            report = build(draft, cache)
            self.store.publish(draft, recipe, report, label=stage, run="test", seconds=1.0)
        return self.store.path(recipe.address)

    def _counting(self, function: Callable) -> Callable:
        def counted(shard: object) -> object:
            self.computed.append(function.__name__)
            return function(shard)

        return counted


def test_only_the_new_files_of_a_second_crawl_are_read(
    tmp_path: Path, record: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    for name in "abc":
        pages = (record(f"https://{name}.example/{n}", page(100 * ord(name) + n)) for n in range(3))
        (crawl / name).with_suffix(".warc.gz").write_bytes(b"".join(pages))
    mill = Mill(tmp_path / "store", crawl, monkeypatch)
    mill.run(["b.warc.gz", "c.warc.gz"])
    assert mill.computed == ["_extract_shard"] * 2 + ["_measure_shard"] * 2 + ["_filter_shard"] * 2

    mill.computed.clear()
    second = mill.run(["a.warc.gz", "b.warc.gz", "c.warc.gz"])  # the files known by now have other numbers
    assert mill.computed == ["_extract_shard", "_measure_shard", "_filter_shard"]

    mill.computed.clear()
    at_once = mill.run(["a.warc.gz", "b.warc.gz", "c.warc.gz"], reuse=False)
    assert len(mill.computed) == 9
    assert second == at_once
    assert len([name for name in second if name.startswith("filter/part-")]) == 3


def test_what_is_of_the_whole_crawl_is_not_reused_by_shard(
    tmp_path: Path, record: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    pages = (record(f"https://a.example/{n}", page(n)) for n in range(4))
    (crawl / "a.warc.gz").write_bytes(b"".join(pages))
    mill = Mill(tmp_path / "store", crawl, monkeypatch)
    mill.run(["a.warc.gz"], max_domain_share=0.9)
    assert not list((tmp_path / "store/.shards").glob("filter-*"))
    assert list((tmp_path / "store/.shards").glob("signals-*"))
