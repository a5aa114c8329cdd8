"""The `decontaminate` stage: what a benchmark asks must not stand in the training text.

The lines that hold an item's summary, a long run of its words, or most of its rare n-grams are cut; a page of which
too little remains is dropped. Pages that the split holds out are left alone: they never train, and items come from
them. A page that an earlier split validated or held out is dropped when it would train now.
Follows the n-gram matching of GPT-3 (Brown et al. 2020, appendix C), with n-grams weighted by rarity: a licence or a
template shared by many pages says nothing about an item. Left out: paraphrases and translations.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.crawl.urls import canonical_url
from gristmill.dedup.config import DecontaminateConfig
from gristmill.dedup.items import Item, ItemIndex, Match, Matcher
from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.config import HELD_OUT_INDEX, SplitConfig
from gristmill.text.documents import (
    document_schema,
    join_verdicts,
    kept,
    read_shard,
    shard_paths,
    verdict,
    write_judged,
)
from gristmill.text.split import split_of
from gristmill.text.words import Hashes, text_hash, word_hashes, words


def run_decontaminate(
    documents: Path, examples: Path, out: Path, config: DecontaminateConfig, *, split: SplitConfig, workers: Workers = 1
) -> Report:
    """Write the documents without the lines that benchmark items stand on, and a verdict for each page touched.

    examples: folder with `held_out.jsonl`, one `{"id", "text", "summary"}` a line. Raises ValueError for a line that
    is none.
    """
    schema = document_schema(documents)
    items = list(_read_items(examples / "held_out.jsonl"))
    for path in config.benchmarks:
        items.extend(_read_items(Path(path)))
    index = ItemIndex(items, config)
    paths = shard_paths(documents)
    count = partial(_count_pages, index=index, split=split)
    counts = map_shards(
        count, [(f"count-{path.stem}", path) for path in paths], out, workers=workers, label="decontaminate: n-grams"
    )
    pages_with = np.zeros(len(index.ngrams), np.int64)
    for shard in counts:
        pages_with[np.array(shard["ngrams"], np.int64)] += np.array(shard["pages"], np.int64)
    matcher = Matcher(index, pages_with)

    earlier = _Earlier.read(config.against)
    cut = partial(_cut_shard, out=out, schema=schema, matcher=matcher, earlier=earlier, split=split)
    shards = map_shards(
        cut, [(f"cut-{path.stem}", path) for path in paths], out, workers=workers, label="decontaminate: pages"
    )
    join_verdicts([out / path.name for path in paths], out, schema=schema)
    rows_in = sum(shard["rows_in"] for shard in shards)
    rows_out = sum(shard["rows_out"] for shard in shards)
    return Report(
        rows_in=rows_in,
        rows_out=rows_out,
        dropped={"contaminated": rows_in - rows_out} if rows_in > rows_out else {},
        metrics={
            "trimmed": sum(shard["trimmed"] for shard in shards),
            "chars_cut_ratio": sum(shard["chars_cut"] for shard in shards)
            / max(1, sum(shard["chars"] for shard in shards)),
        },
        details={
            "items": len(items),
            "items_too_short_to_find": index.unfindable,
            "items_found": len(set(chain.from_iterable(shard["found"] for shard in shards))),
        },
    )


def _read_items(path: Path) -> Iterator[Item]:
    if not path.is_file():
        raise ValueError(f"no {path.name} in {path.parent}; expected a JSON-lines file of benchmark items")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                yield Item(str(row.get("id", f"{path.stem}:{number}")), str(row["text"]), str(row.get("summary") or ""))
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise ValueError(
                    f'{path.name}, line {number} is no benchmark item; expected an object with "text", and maybe "id" '
                    'and "summary"'
                ) from error


def _count_pages(path: Path, *, index: ItemIndex, split: SplitConfig) -> dict[str, Any]:
    """How many of a shard's pages hold each n-gram of the items; pages of the held-out split do not count."""
    pages_with = np.zeros(len(index.ngrams), np.int64)
    rows = 0
    for document in read_shard(path, columns=["url", "text"]):
        rows += 1
        if split_of(document["url"], split) != "held_out":
            pages_with[np.unique(index.hits(_Page(document["text"]).hashes).ngrams)] += 1
    found = np.flatnonzero(pages_with)
    return {"rows_in": rows, "ngrams": found.tolist(), "pages": pages_with[found].tolist()}


def _cut_shard(
    path: Path,
    *,
    out: Path,
    schema: pa.Schema,
    matcher: Matcher,
    earlier: "_Earlier",
    split: SplitConfig,
) -> dict[str, Any]:
    """Write one shard without the matched lines."""
    found: set[str] = set()
    counts = {"trimmed": 0, "chars": 0, "chars_cut": 0}

    def judged() -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        for document in read_shard(path):
            counts["chars"] += len(document["text"])
            destiny = split_of(document["url"], split)
            known = earlier.page(document) if destiny == "train" else None
            if known:
                counts["chars_cut"] += len(document["text"])
                yield _contaminated(document, "dropped", known, "no page of an earlier split"), None
                continue
            page = _Page(document["text"])
            matches = [] if destiny == "held_out" else matcher.matches(page.hashes)
            if not matches:
                yield kept(document, stage="decontaminate"), document
                continue
            found.update(match.item_id for match in matches)
            remaining = page.without(matches)
            ratio = len(remaining.strip()) / max(1, len(document["text"]))
            goes_on = bool(remaining.strip()) and ratio >= matcher.index.config.min_kept_ratio
            counts["trimmed"] += goes_on
            counts["chars_cut"] += len(document["text"]) - (len(remaining) if goes_on else 0)
            longest = max(matches, key=lambda match: match.stop - match.start)
            value = f"{longest.item_id}: {longest.value}" + (f", and {len(matches) - 1} more" if matches[1:] else "")
            row = _contaminated(document, "trimmed" if goes_on else "dropped", value, longest.threshold)
            yield row, document | {"text": remaining} if goes_on else None

    summary = write_judged(out / path.name, judged(), schema=schema)
    return {**summary, "found": sorted(found), **counts}


def _contaminated(document: dict[str, Any], decision: str, value: str, threshold: str) -> dict[str, Any]:
    return verdict(
        document, stage="decontaminate", rule="contaminated", value=value, threshold=threshold, decision=decision
    )


class _Page:
    """A text as lines and as word hashes that know their line."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        by_line = [words(line) for line in self.lines]
        self.hashes: Hashes = word_hashes(list(chain.from_iterable(by_line)))
        self.line_of_word = np.repeat(np.arange(len(by_line)), [len(line) for line in by_line])

    def without(self, matches: list[Match]) -> str:
        """The text without the lines the matches stand on."""
        cut: set[int] = set()
        for match in matches:
            cut.update(range(self.line_of_word[match.start], self.line_of_word[match.stop - 1] + 1))
        return "\n".join(line for number, line in enumerate(self.lines) if number not in cut)


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
