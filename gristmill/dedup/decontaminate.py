"""The `decontaminate` stage: what a benchmark asks must not stand in the training text.

The lines that an item stands on are cut; a page of which too little remains is dropped. Pages that the split holds out
are left alone: they never train, and items come from them. A page that an earlier split validated or held out is
dropped when it would train now. Which item was found where stands in `leaks.parquet`, which items cannot be found in
`not_covered.jsonl`.
Follows the n-gram matching of GPT-3 (Brown et al. 2020, appendix C), with n-grams weighted by rarity. Left out:
paraphrases and translations.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.crawl.urls import canonical_url
from gristmill.dedup.coverage import write_not_covered
from gristmill.dedup.decontaminate_config import EXAMPLES, DecontaminateConfig, ItemFile
from gristmill.dedup.finder import Finder, Found, PageCounter, write_indexes, write_rarity
from gristmill.dedup.item_files import read_items
from gristmill.dedup.leaks import LEAK_SCHEMA, describe_leaks, leak_rows
from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.config import HELD_OUT_INDEX, SplitConfig
from gristmill.text.documents import (
    ShardWriter,
    document_schema,
    join_verdicts,
    kept,
    read_shard,
    shard_paths,
    verdict,
    write_judged,
    write_shard,
)
from gristmill.text.split import split_of
from gristmill.text.words import text_hash

# shards whose pages say which words and pairs of words are common; more of them say the same
_SHARDS_FOR_SPEECH = 16


def run_decontaminate(
    documents: Path, examples: Path, out: Path, config: DecontaminateConfig, *, split: SplitConfig, workers: Workers = 1
) -> Report:
    """Write the documents without the lines that benchmark items stand on, a verdict for each page, and the leaks.

    examples: folder with `held_out.jsonl`, one `{"id", "text", "summary"}` a line. Raises ValueError for a line of it,
    or of a benchmark's file, that is no item.
    """
    schema = document_schema(documents)
    files = [ItemFile(path=examples / "held_out.jsonl", name=EXAMPLES), *config.benchmarks]
    items = [item for file in files for item in read_items(file)]
    index = out / ".done" / "items"
    write_indexes(index, items, config)
    paths = shard_paths(documents)
    speech = set(paths[:: -(-len(paths) // _SHARDS_FOR_SPEECH)])

    count = partial(_count_shard, index=index, speech=speech, split=split)
    counts = map_shards(
        count, [(f"count-{path.stem}", path) for path in paths], out, workers=workers, label="decontaminate: n-grams"
    )
    write_rarity(index, [shard["counts"] for shard in counts])
    suspects = [(f"cut-{path.stem}", (path, shard["suspects"])) for path, shard in zip(paths, counts, strict=True)]
    earlier = _Earlier.read(config.against)
    cut = partial(_cut_shard, index=index, config=config, earlier=earlier, out=out, schema=schema, split=split)
    shards = map_shards(cut, suspects, out, workers=workers, label="decontaminate: pages")
    join_verdicts([out / path.name for path in paths], out, schema=schema)
    write_shard(
        out / "leaks.parquet",
        (row for path in paths for row in read_shard(_leaks_of(out / path.name))),
        schema=LEAK_SCHEMA,
    )
    coverage = write_not_covered(items, index, config, out, workers=workers)
    rows_in = sum(shard["rows_in"] for shard in shards)
    rows_out = sum(shard["rows_out"] for shard in shards)
    benchmarks = describe_leaks(out / "leaks.parquet", coverage)
    return Report(
        rows_in=rows_in,
        rows_out=rows_out,
        dropped={"contaminated": rows_in - rows_out} if rows_in > rows_out else {},
        metrics={
            "items": len(items),
            "items_not_covered": sum(benchmark["not_covered"] for benchmark in benchmarks.values()),
            "items_found": sum(benchmark["found"] for benchmark in benchmarks.values()),
            "trimmed": sum(shard["trimmed"] for shard in shards),
            "chars_cut_ratio": sum(shard["chars_cut"] for shard in shards)
            / max(1, sum(shard["chars"] for shard in shards)),
        },
        details={"benchmarks": benchmarks},
    )


def _count_shard(path: Path, *, index: Path, speech: set[Path], split: SplitConfig) -> dict[str, Any]:
    """How many of a shard's pages hold each n-gram of the items, and which pages hold any; held-out pages do not count.

    What is common speech is counted in the shards of `speech` alone.
    """
    counter = PageCounter(index)
    suspects, rows = [], 0
    for document in read_shard(path, columns=["url", "text"]):
        trains = split_of(document["url"], split) != "held_out"
        if trains and counter.add(document["text"], speech=path in speech):
            suspects.append(rows)
        rows += 1
    return {"rows_in": rows, "suspects": suspects, "counts": counter.counts()}


def _cut_shard(
    shard: tuple[Path, list[int]],
    *,
    index: Path,
    config: DecontaminateConfig,
    earlier: "_Earlier",
    out: Path,
    schema: pa.Schema,
    split: SplitConfig,
) -> dict[str, Any]:
    """Write one shard without the lines on which items were found, among the pages that may hold any."""
    path, suspects = shard
    finder, suspicious = Finder(index, config), set(suspects)
    counts = {"trimmed": 0, "chars": 0, "chars_cut": 0}

    def judged(leaks: ShardWriter) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        for number, document in enumerate(read_shard(path)):
            counts["chars"] += len(document["text"])
            known = earlier.page(document) if split_of(document["url"], split) == "train" else None
            if known:
                counts["chars_cut"] += len(document["text"])
                yield _contaminated(document, "dropped", known, "no page of an earlier split"), None
                continue
            found = finder.find(document["text"]) if number in suspicious else []
            if not found:
                yield kept(document, stage="decontaminate"), document
                continue
            remaining = _without(document["text"], found)
            ratio = len(remaining.strip()) / max(1, len(document["text"]))
            goes_on = bool(remaining.strip()) and ratio >= config.min_kept_ratio
            counts["trimmed"] += goes_on
            counts["chars_cut"] += len(document["text"]) - (len(remaining) if goes_on else 0)
            decision = "trimmed" if goes_on else "dropped"
            for row in leak_rows(document, found, finder, decision):
                leaks.write(row)
            row = _contaminated(document, decision, _named(found, finder), found[0].match.threshold)
            yield row, document | {"text": remaining} if goes_on else None

    with ShardWriter(_leaks_of(out / path.name), LEAK_SCHEMA) as leaks:
        summary = write_judged(out / path.name, judged(leaks), schema=schema)
    return {**summary, **counts}


def _without(text: str, found: list[Found]) -> str:
    """The text without the lines that items stand on."""
    cut = {line for one in found for line in range(one.first_line, one.last_line + 1)}
    return "\n".join(line for number, line in enumerate(text.split("\n")) if number not in cut)


def _named(found: list[Found], finder: Finder) -> str:
    """What a verdict says: the item with the longest run, and how many others there are."""
    longest = found[0].match
    others = len({one.match.item for one in found}) - 1
    return f"{finder.name(longest.item)['key']}: {longest.value}" + (f", and {others} more items" if others else "")


def _contaminated(document: dict[str, Any], decision: str, value: str, threshold: str) -> dict[str, Any]:
    return verdict(
        document, stage="decontaminate", rule="contaminated", value=value, threshold=threshold, decision=decision
    )


def _leaks_of(shard: Path) -> Path:
    return shard.parent / ".done" / f"leaks-{shard.stem}.parquet"


@dataclass(frozen=True)
class _Earlier:
    """What earlier splits validated or held out: canonical URL and text hash → doc_id."""

    urls: dict[str, str]
    texts: dict[str, str]

    @classmethod
    def read(cls, folders: list[str]) -> "_Earlier":
        urls: dict[str, str] = {}
        texts: dict[str, str] = {}
        for folder in folders:
            path = Path(folder) / HELD_OUT_INDEX
            if not path.is_file():
                raise ValueError(
                    f"decontaminate.against: no {HELD_OUT_INDEX} in {folder}; name folders of split artifacts"
                )
            for row in pq.read_table(path).to_pylist():
                urls[row["canonical_url"]] = texts[row["text_hash"]] = row["doc_id"]
        return cls(urls, texts)

    def page(self, document: dict[str, Any]) -> str | None:
        """What was known of this page, or None."""
        if self.urls and (same := self.urls.get(canonical_url(document["url"]))):
            return f"URL of {same} in an earlier split"
        if self.texts and (same := self.texts.get(text_hash(document["text"]))):
            return f"text of {same} in an earlier split"
        return None
