"""Which items decontamination cannot promise to find: each is looked for in itself, and the short ones are listed."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.finder import Finder
from gristmill.dedup.item_files import Item
from gristmill.shards import Workers, map_shards
from gristmill.text.words import words

_ITEMS_PER_CALL = 10_000


def write_not_covered(
    items: Sequence[Item], index: Path, config: DecontaminateConfig, out: Path, *, workers: Workers
) -> dict[str, dict[str, int]]:
    """Write `not_covered.jsonl`, a line for each item that is not covered, and why. Returns counts by benchmark.

    Covered is an item of at least `ngram_words` words that is found in a page that is the item itself.
    """
    starts = range(0, len(items), _ITEMS_PER_CALL)
    calls = [(f"cover-{start:09d}", (start, items[start : start + _ITEMS_PER_CALL])) for start in starts]
    check = partial(_not_covered, index=index, config=config)
    found = map_shards(check, calls, out, workers=workers, label="decontaminate: coverage", unit="parts")
    rows = [row for part in found for row in part["not_covered"]]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (out / "not_covered.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    total = Counter(item.benchmark for item in items)
    missing = Counter(row["benchmark"] for row in rows)
    whole = Counter(row["benchmark"] for row in rows if row["found_whole"])
    return {
        name: {"items": total[name], "not_covered": missing[name], "found_whole_only": whole[name]} for name in total
    }


def _not_covered(part: tuple[int, Sequence[Item]], *, index: Path, config: DecontaminateConfig) -> dict[str, Any]:
    first, items = part
    finder = Finder(index, config)
    rows = []
    for number, item in enumerate(items, start=first):
        length = max((len(words(text)) for text in item.texts), default=0)
        in_itself = finder.holds(item.texts, number)
        if length >= config.ngram_words and in_itself:
            continue
        short = f"{length} words, fewer than {config.ngram_words}"
        common = "its words are common, or its runs of words stand in many pages or items"
        rows.append(
            {
                "benchmark": item.benchmark,
                "item_id": item.item_id,
                "row": item.row,
                "words": length,
                "reason": short if length < config.ngram_words else common,
                "found_whole": in_itself,
            }
        )
    return {"not_covered": rows}
