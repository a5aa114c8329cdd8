"""Decontamination on planted leaks and clean controls, beside two plain n-gram rules.

    .venv/bin/python benchmarks/decontamination.py [--data ../shared/data] [--plants 1000] [--seed 0] [--json]

Items: every file of data/eval. Documents: the pages of the packed WARC files as gristmill extracts them, and the texts
of data/text. Planted are whole texts of items and excerpts of them, by length, each into the middle of a line of a
document of its own. `found`: the item is named for that page, and its line is gone. Lengths are counted in words and,
in a second draw, in tokens of a byte-level BPE of 4,096 that is trained on the documents. Not promised are plants of
fewer than 8 words, and a benchmark's template: an excerpt that more items hold than it has words.

Clean controls are the documents as they are. Before, other code (plain substrings of normalized text) looks for items
in them: a document that holds a whole text of an item of 5 words or more, or 13 words in a row of one, is no clean
control, and is reported apart as a real leak. So are the texts that `uk_gec_minimal_pairs` was made from, every one.
All rules are judged on the same pages.

Peers: `any 13-gram` is the rule of GPT-3 (Brown et al. 2020, appendix C) without its list of exceptions, `any 8-gram`
the same with 8 words; both flag a page that shares one with an item.
"""

import argparse
import gzip
import json
import multiprocessing
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heuristics import extracted_documents
from scipy.stats import binomtest

from gristmill.dedup.decontaminate import run_decontaminate
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.finder import Finder, PageCounter, write_indexes, write_rarity
from gristmill.dedup.item_files import Item, read_items
from gristmill.jsonl import read_jsonl
from gristmill.report import Report
from gristmill.text.config import SplitConfig
from gristmill.text.documents import DOCUMENT_SCHEMA, read_documents, read_shard, write_shard
from gristmill.text.words import words

TEMPLATE, OTHER = "more items hold it than it has words", "other"
BUCKETS = ((8, 12), (13, 24), (25, 49), (50, 99), (100, 400))
SPLIT = SplitConfig(validation=0.02, held_out=0)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Plant:
    """A piece of an item in a page: `length` in words or tokens, and its words as gristmill counts them."""

    item: Item
    text: str
    unit: str
    kind: str
    bucket: tuple[int, int]

    @property
    def group(self) -> str:
        low, high = self.bucket
        return f"{self.unit} {self.kind} {low}–{high}" if high < 400 else f"{self.unit} {self.kind} {low}+"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--plants", type=int, default=1000, help="in each group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.data, plants=arguments.plants, seed=arguments.seed)
    print(json.dumps(result, ensure_ascii=False) if arguments.json else table(result))


def measure(data: Path, *, plants: int, seed: int) -> dict[str, Any]:
    """The benchmark's JSON."""
    config = DecontaminateConfig.model_validate({"benchmarks": sorted((data / "eval").glob("*.jsonl.gz"))})
    items = [item for file in config.benchmarks for item in read_items(file)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        documents = extracted_documents(data, folder)
        texts = [row["text"] for row in read_documents(documents, columns=["text"])] + list(other_texts(data))
        peers = {f"any {n}-gram": any_ngram_rule(items, n) for n in (13, 8)}
        held = set(real_leaks(items, texts))
        leaks = [texts[number] for number in sorted(held)]
        clean = [text for number, text in enumerate(texts) if number not in held]
        origins = uk_gec_texts(data)
        leaked = [origins[number] for number in real_leaks(items, origins)]
        passages = [passage for text in clean for passage in split_words(text, 200)]
        controls = {
            "documents": control_rates(clean, config, peers, folder / "controls"),
            "passages of 200 words": control_rates(passages, config, peers, folder / "passages"),
        }
        _, real, _ = run([*leaks, *leaked], config, folder / "real")
        planted = list(draw(items, [*texts, *origins], plants=plants, seed=seed))
        recall, missed = recall_of(planted, clean, config, peers, folder / "planted", seed=seed)
        return {
            "items": len(items),
            "not_covered": controls["documents"]["not_covered"],
            "recall": recall,
            "missed": missed,
            "controls": controls,
            "real_leaks": {
                "pages": len(leaks),
                "flagged": sum(map(bool, real[: len(leaks)])),
                "uk_gec_pages": len(leaked),
                "uk_gec_flagged": sum(map(bool, real[len(leaks) :])),
            },
            "cost": in_a_new_process(cost, items, clean, config, folder / "cost"),
        }


def other_texts(data: Path) -> Iterator[str]:
    """Texts of data/text; long ones in parts of 40 lines."""
    for name in ("c4_sample", "ccnet_en_head_0091"):
        yield from (row["text"] for _, row in read_jsonl(data / "text" / f"{name}.jsonl.gz"))
    for name in ("tinyshakespeare", "the-verdict", "wikitext2_valid"):
        with gzip.open(data / "text" / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")
        yield from ("\n".join(lines[start : start + 40]) for start in range(0, len(lines), 40))


def uk_gec_texts(data: Path) -> list[str]:
    """The texts that the items of `uk_gec_minimal_pairs` are sentences of."""
    return [row["text"] for _, row in read_jsonl(data / "text" / "uk_gec_corrected.jsonl.gz")]


def normalized(text: str) -> list[str]:
    """Words by other means than the stage's: no compatibility forms, no scripts of their own."""
    return _WORD.findall(text.lower())


def any_ngram_rule(items: Sequence[Item], n: int) -> Callable[[str], bool]:
    """Whether a page shares n words in a row with an item."""
    known = {gram for item in items for text in item.texts for gram in ngrams(normalized(text), n)}
    return lambda page: any(gram in known for gram in ngrams(normalized(page), n))


def ngrams(sequence: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(sequence[offset:] for offset in range(n)), strict=False)


def real_leaks(items: Sequence[Item], texts: Sequence[str]) -> list[int]:
    """Numbers of the texts that hold a whole text of an item (5 words or more) or 13 words in a row of one."""
    shares_13 = any_ngram_rule(items, 13)
    by_start: dict[tuple[str, ...], set[str]] = {}
    for item in items:
        for text in item.texts:
            sequence = normalized(text)
            if len(sequence) >= 5:
                by_start.setdefault(tuple(sequence[:5]), set()).add(f" {' '.join(sequence)} ")
    found = []
    for number, text in enumerate(texts):
        sequence = normalized(text)
        page = f" {' '.join(sequence)} "
        starts = {start for start in ngrams(sequence, 5) if start in by_start}
        if shares_13(text) or any(whole in page for start in starts for whole in by_start[start]):
            found.append(number)
    return found


def split_words(text: str, length: int) -> Iterator[str]:
    """The text in parts of so many words; a shorter rest is left out."""
    spans = [match.span() for match in _WORD.finditer(text)]
    for start in range(0, len(spans) - length + 1, length):
        yield text[spans[start][0] : spans[start + length - 1][1]]


def draw(items: Sequence[Item], documents: Sequence[str], *, plants: int, seed: int) -> Iterator[Plant]:
    """Whole texts of items, and excerpts of them, by length in words and in tokens of a BPE."""
    encoder = trained_bpe(documents)
    rulers = {
        "words": lambda text: [match.span() for match in _WORD.finditer(text)],
        "tokens": lambda text: encoder.encode(text).offsets,
    }
    for unit, spans_of in rulers.items():
        draws = random.Random(f"{seed} {unit}")
        texts = [(item, text, spans_of(text)) for item in items for text in item.texts]
        for low, high in BUCKETS:
            wholes = [(item, text) for item, text, spans in texts if low <= len(spans) <= high]
            for item, text in draws.sample(wholes, min(plants, len(wholes))):
                yield Plant(item, text, unit, "whole", (low, high))
            long_enough = [entry for entry in texts if len(entry[2]) > low]
            for item, text, spans in draws.choices(long_enough, k=plants):
                length = draws.randint(low, min(high, len(spans) - 1))
                start = draws.randrange(len(spans) - length + 1)
                yield Plant(
                    item, cut(text, spans[start][0], spans[start + length - 1][1]), unit, "excerpt", (low, high)
                )


def cut(text: str, start: int, stop: int) -> str:
    """The excerpt, with the word at either end complete."""
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while stop < len(text) and text[stop].isalnum():
        stop += 1
    return text[start:stop]


def trained_bpe(documents: Sequence[str]):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        documents, trainers.BpeTrainer(vocab_size=4096, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def run(pages: Sequence[str], config: DecontaminateConfig, folder: Path) -> tuple[list[str | None], list[set], Report]:
    """(text that is left or None, items found) of each page, and the stage's report."""
    documents, examples, out = folder / "documents", folder / "examples", folder / "out"
    for made in (examples, out):
        made.mkdir(parents=True)
    (examples / "held_out.jsonl").touch()
    facts = dict.fromkeys(DOCUMENT_SCHEMA.names) | {"source": "benchmark"}
    for shard in range(0, len(pages), 1000):
        rows = (
            facts | {"doc_id": str(number), "url": f"https://example.org/{number}", "text": pages[number]}
            for number in range(shard, min(shard + 1000, len(pages)))
        )
        write_shard(documents / f"part-{shard // 1000:05d}.parquet", rows)
    report = run_decontaminate(documents, examples, out, config, split=SPLIT, workers=1)
    left: list[str | None] = [None] * len(pages)
    for row in read_documents(out, columns=["doc_id", "text"]):
        left[int(row["doc_id"])] = row["text"]
    found: list[set] = [set() for _ in pages]
    for row in read_shard(out / "leaks.parquet"):
        found[int(row["doc_id"])].add((row["benchmark"], row["item_id"]))
    return left, found, report


def control_rates(
    pages: Sequence[str], config: DecontaminateConfig, peers: dict[str, Callable[[str], bool]], folder: Path
) -> dict[str, Any]:
    """Of clean pages the share that is flagged, by each rule, and what gristmill flagged."""
    _, found, report = run(pages, config, folder)
    flagged = {"gristmill": sum(map(bool, found))} | {name: sum(map(rule, pages)) for name, rule in peers.items()}
    described = report.details["benchmarks"]
    return {
        "pages": len(pages),
        "flagged": {name: rate(count, len(pages)) for name, count in flagged.items()},
        "flagged_items": sorted(f"{name}:{item}" for items in found for name, item in items),
        "not_covered": {
            name: [counts["not_covered"], counts["items"]]
            for name, counts in described.items()
            if counts["not_covered"]
        },
    }


def recall_of(
    planted: Sequence[Plant],
    hosts: Sequence[str],
    config: DecontaminateConfig,
    peers: dict[str, Callable[[str], bool]],
    folder: Path,
    *,
    seed: int,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Recall by group of plants, and why the missed ones were missed."""
    draws = random.Random(f"{seed} hosts")
    suitable = [host for host in hosts if len(host) > 500]
    pages = [with_plant(draws.choice(suitable), plant.text, draws) for plant in planted]
    left, found, _ = run([*hosts, *pages], config, folder)
    left, found = left[len(hosts) :], found[len(hosts) :]
    groups: dict[str, list[tuple[Plant, bool, dict[str, bool]]]] = {}
    for plant, page, text, items in zip(planted, pages, left, found, strict=True):
        hit = (plant.item.benchmark, plant.item.item_id) in items and plant.text not in (text or "")
        theirs = {name: rule(page) for name, rule in peers.items()}
        groups.setdefault(plant.group, []).append((plant, hit, theirs))
    reasons = missed_because([plant for group in groups.values() for plant, hit, _ in group if not hit], planted)
    rows = []
    for group, outcomes in groups.items():
        promised = [
            hit
            for plant, hit, _ in outcomes
            if len(words(plant.text)) >= config.ngram_words and (hit or reasons[plant] != TEMPLATE)
        ]
        rows.append(
            {
                "group": group,
                "found": rate(sum(hit for _, hit, _ in outcomes), len(outcomes)),
                "found_of_promised": rate(sum(promised), len(promised)),
                **{name: rate(sum(their[name] for *_, their in outcomes), len(outcomes)) for name in peers},
            }
        )
    long_enough = {plant: why for plant, why in reasons.items() if len(words(plant.text)) >= config.ngram_words}
    missed = {
        "by_reason": dict(Counter(long_enough.values())),
        "by_benchmark": dict(Counter(plant.item.benchmark for plant in long_enough).most_common()),
        "other": [
            f"{plant.item.key}, {plant.group}, {len(words(plant.text))} words"
            for plant, why in long_enough.items()
            if why == OTHER
        ][:20],
    }
    return rows, missed


def with_plant(host: str, leak: str, draws: random.Random) -> str:
    """The host with the leak between two words of it."""
    gaps = [match.start() for match in re.finditer(r"[ \n]", host)]
    at = draws.choice(gaps)
    return f"{host[:at]} {leak} {host[at:]}"


def missed_because(missed: Sequence[Plant], planted: Sequence[Plant]) -> dict[Plant, str]:
    """Why each of the plants is not found, by brute force over the items that were drawn."""
    everything = {plant.item.key: plant.item for plant in planted}.values()
    pool = [{f" {' '.join(normalized(text))} " for text in item.texts} for item in everything]
    reasons = {}
    for plant in missed:
        sequence = normalized(plant.text)
        sought = f" {' '.join(sequence)} "
        if sum(any(sought in text for text in texts) for texts in pool) > len(sequence):
            reasons[plant] = TEMPLATE
        elif 2 * sum(word.isdecimal() for word in sequence) >= len(sequence) - 2:
            reasons[plant] = "mostly numbers"
        else:
            reasons[plant] = OTHER
    return reasons


def in_a_new_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def cost(items: Sequence[Item], pages: Sequence[str], config: DecontaminateConfig, folder: Path) -> dict[str, Any]:
    """CPU seconds and bytes, on one core. The process holds the items and pages, too: `rss_before_mb`."""
    before = peak_mb()
    started = time.process_time()
    write_indexes(folder, items, config)
    indexed = time.process_time()
    counter = PageCounter(folder)
    suspects = [page for page in pages if counter.add(page, speech=False)]
    counted = time.process_time()
    write_rarity(folder, [counter.counts()])
    finder = Finder(folder, config)
    searched = time.process_time()
    for page in suspects:
        finder.find(page)
    ended = time.process_time()
    seconds = counted - indexed + ended - searched
    return {
        "items": len(items),
        "index_seconds": round(indexed - started, 2),
        "index_mb": round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1),
        "docs_per_cpu_second": round(len(pages) / seconds),
        "mb_of_text_per_cpu_second": round(sum(len(page.encode()) for page in pages) / 1e6 / seconds, 1),
        "pages": len(pages),
        "rss_before_mb": before,
        "peak_rss_mb": peak_mb(),
    }


def peak_mb() -> int:
    """Most memory this process has held. `getrusage` would say what its parent held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def rate(count: int, total: int) -> dict[str, Any]:
    """A share with its 95 % Wilson interval."""
    if not total:
        return {"count": 0, "of": 0}
    low, high = binomtest(count, total).proportion_ci(method="wilson")
    return {"count": count, "of": total, "share": count / total, "low": float(low), "high": float(high)}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""

    def shown(found: dict[str, Any], digits: int = 1) -> str:
        if not found["of"]:
            return "–"
        percent = [f"{100 * found[key]:.{digits}f}" for key in ("share", "low", "high")]
        return f"{percent[0]} % [{percent[1]}, {percent[2]}] of {found['of']:,}"

    peers = [name for name in result["recall"][0] if name.startswith("any")]
    lines = [
        f"| planted | found | … of those promised | {' | '.join(peers)} |",
        "|---|---|---|" + "---|" * len(peers),
    ]
    for row in result["recall"]:
        theirs = " | ".join(f"{100 * row[name]['share']:.1f} %" for name in peers)
        lines.append(f"| {row['group']} | {shown(row['found'])} | {shown(row['found_of_promised'])} | {theirs} |")
    lines.append("")
    names = list(result["controls"]["documents"]["flagged"])
    lines += [f"| clean controls | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for kind, control in result["controls"].items():
        lines.append(f"| {kind} | {' | '.join(shown(control['flagged'][name], 3) for name in names)} |")
    rest = {key: result[key] for key in ("items", "not_covered", "missed", "real_leaks", "cost")}
    flagged = {kind: control["flagged_items"] for kind, control in result["controls"].items()}
    return "\n".join([*lines, "", json.dumps(rest | {"flagged": flagged}, ensure_ascii=False, indent=1)])


if __name__ == "__main__":
    main()
