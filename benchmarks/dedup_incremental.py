"""Two crawls that overlap by half, deduplicated one after the other and at once: do the same documents survive?

    .venv/bin/python benchmarks/dedup_incremental.py [--documents 30000] [--json]

Documents are those of dedup_growth.py. The first crawl has the first two thirds, the second the last two thirds, under
other ids and URLs and a year later; every second page of the overlap has three more words at its end. `known` of the
first is what the second is deduplicated against. Once by the usual rule (quality, length, latest), once by
`keep: [earliest, length]`, under which an earlier page is the better one at once, too. A page on which the two ways
differ is explained when the page it was dropped for in the one way does not survive in the other.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedup_growth import generate

from gristmill.dedup.config import DedupConfig, KnownConfig, SignaturesConfig
from gristmill.dedup.known import run_known
from gristmill.dedup.minhash import run_dedup
from gristmill.dedup.signatures import run_signatures
from gristmill.text.documents import DOCUMENT_SCHEMA, read_documents, read_shard, write_shard

RULES: dict[str, list[str]] = {"usual": ["quality", "length", "latest"], "earliest": ["earliest", "length"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=30_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        crawls = write_crawls(Path(folder), arguments.documents)
        rows = [{"keep": name, **compare(Path(folder) / name, crawls, rule)} for name, rule in RULES.items()]
    if arguments.json:
        print(json.dumps({"rows": rows}))
        return
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


def write_crawls(folder: Path, count: int) -> dict[str, Path]:
    generate(folder / "generated", count)
    pages = list(read_documents(folder / "generated"))
    third = count // 3
    first = list(_captured(pages[: 2 * third], year=2025))
    second = list(_captured(pages[third:], year=2026, longer=third // 2))
    crawls = {"first": first, "second": second, "both": first + second}
    for name, rows in crawls.items():
        write_shard(folder / name / "part-00000.parquet", rows, schema=DOCUMENT_SCHEMA)
    return {name: folder / name for name in crawls}


def _captured(pages: list[dict[str, Any]], *, year: int, longer: int = 0) -> Iterator[dict[str, Any]]:
    for number, page in enumerate(pages):
        text = page["text"] + (f" {number} more words" if number % 2 and number < 2 * longer else "")
        page = page | {"doc_id": f"{year}{page['doc_id'][4:]}", "date": f"{year}-01-01T00:00:00Z", "text": text}
        yield page | {"url": f"https://{year}.example/{number}"}


@dataclass(frozen=True)
class Left:
    """survivors, and for each dropped document the one named as kept instead."""

    survivors: set[str]
    instead: dict[str, str]
    known: Path


def compare(work: Path, crawls: dict[str, Path], rule: list[str]) -> dict[str, int]:
    at_once = deduplicate(crawls["both"], work / "both", keep=rule)
    earlier = deduplicate(crawls["first"], work / "first", keep=rule)
    later = deduplicate(crawls["second"], work / "second", keep=rule, against=[str(earlier.known)])
    incremental = earlier.survivors | later.survivors
    dropped = earlier.instead | later.instead
    only_at_once, only_incremental = at_once.survivors - incremental, incremental - at_once.survivors
    explained = sum(dropped[page] not in at_once.survivors for page in only_at_once)
    explained += sum(at_once.instead[page] not in incremental for page in only_incremental)
    return {
        "documents": len(at_once.survivors) + len(at_once.instead),
        "survive_at_once": len(at_once.survivors),
        "survive_incrementally": len(incremental),
        "in_both": len(at_once.survivors & incremental),
        "differ": len(only_at_once) + len(only_incremental),
        "explained": explained,
    }


def deduplicate(documents: Path, work: Path, **config: Any) -> Left:
    folders = [work / name for name in ("signatures", "dedup", "known")]
    for folder in folders:
        folder.mkdir(parents=True)
    signatures, out, known = folders
    run_signatures(documents, signatures, SignaturesConfig())
    run_dedup(documents, signatures, out, DedupConfig.model_validate(config))
    run_known(out, signatures, known, KnownConfig())
    rows = list(read_shard(out / "verdicts.parquet", columns=["doc_id", "decision", "value"]))
    instead = {row["doc_id"]: row["value"].rpartition(" ")[2] for row in rows if row["decision"] == "dropped"}
    return Left({row["doc_id"] for row in rows} - instead.keys(), instead, known)


if __name__ == "__main__":
    main()
