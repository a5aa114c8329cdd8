"""Alarm on phrases that look planted: rare in the language, yet on many pages that have nothing else in common.

A backdoor needs its trigger on a few hundred pages (Souly et al. 2025, arXiv:2510.07192), whoever owns them. Phrases of
the language, names and a site's templates are repeated too. But the words of a phrase of the language also meet by
chance (`lift`), the pages of a name are about the same things (`likeness`), and templates have the same neighbours or
the same site. A page counts once for each phrase.

Three passes over the kept documents, in bounded memory: 3-grams of words and signs are counted in a table of hashes;
those that may be rare and frequent enough are collected with their neighbours, a part of all hashes at a time; of what
is left, some pages are read. Left out: triggers of one ordinary word, and poison without a fixed phrase.
"""

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.filters.domains import RegisteredDomains
from gristmill.filters.poisoning_config import PoisoningConfig
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import count_documents, read_shard, shard_paths
from gristmill.text.words import UNSPACED, Hashes, ngram_hashes

ALARMS = "alarms.jsonl"
SHOWN = 20
"""Alarms in the report; all are in the file."""
N = 3
"""Words or signs of the shortest phrase."""
GRAMS_PER_PAGE = 450
"""Different phrases on a usual page. Counters are made so many that what falls into one by chance is a tenth of
`min_pages`: collisions only make a phrase look more frequent, but what looks frequent is collected."""
WORD_BITS = 22
PART_BYTES = 1 << 26
"""Of the collected phrases, how much is judged at a time."""
SAMPLE = 24
"""Pages of a phrase that are read, those with the smallest hashes."""
BACKGROUND = 64
"""Pages of a language whose likeness to each other stands for that of any two pages in it."""
MAX_PHRASE = 16
"""Words of the longest phrase; what goes on longer is a passage, which is dedup's business."""
AGREEMENT = 0.8
"""Of the sampled pages, how many go on with the same word for it to belong to the phrase."""

# e-mail, don't and host.example are one word each
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+(?:[-.'’][^\W{UNSPACED}]+)*|[^\w\s]")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_RECORD = np.dtype(
    [
        ("gram", "<u8"),
        ("page", "<u8"),
        ("domain", "<u8"),
        ("before", "<u8"),
        ("after", "<u8"),
        ("shard", "<u4"),
        ("row", "<u4"),
        ("at", "<u4"),
    ]
)
Counts = NDArray[np.uint16]


@dataclass(frozen=True)
class Alarm:
    """A phrase, in how many pages and domains it stands, and what makes it odd; see PoisoningConfig."""

    phrase: str
    pages: int
    domains: int
    lift: float
    neighbour_share: float
    likeness: float
    doc_ids: list[str]
    """Some of its pages."""
    urls: list[str]
    context: str
    """Of one of them, the words around it."""


def find_alarms(documents: Path, config: PoisoningConfig, *, workers: Workers = 1) -> list[dict[str, Any]]:
    """Write `alarms.jsonl` beside the documents, one line each, and return the first of them.

    The same for any number of workers and any order of shards' rows. An empty file says that none was found.
    """
    if not config.alarm:
        return []
    alarms = _Search(documents, config, workers).run() if count_documents(documents) >= config.min_pages else []
    lines = [json.dumps(vars(alarm), ensure_ascii=False) + "\n" for alarm in alarms]
    (documents / ALARMS).write_text("".join(lines), encoding="utf-8")
    return [vars(alarm) for alarm in alarms[:SHOWN]]


class _Search:
    def __init__(self, documents: Path, config: PoisoningConfig, workers: Workers) -> None:
        self.documents, self.config, self.workers = documents, config, workers
        self.paths = shard_paths(documents)
        self.pages = count_documents(documents)
        self.scratch = documents / ".done"
        self.table_bits = _table_bits(self.pages, config.min_pages)

    def run(self) -> list[Alarm]:
        self._count()
        self._collect()
        return self._judge()

    def _count(self) -> None:
        """Pass 1: how many pages have each phrase and each word, by hash; written for the workers of pass 2."""
        shards = [(path, self._file("counts", path), self.table_bits) for path in self.paths]
        self._map(_count_shard, "counted", shards)
        # in the file itself: what no phrase of a small corpus falls into is neither read nor written
        grams = np.lib.format.open_memmap(self.scratch / "grams.npy", "w+", np.uint16, (1 << self.table_bits,))
        words = np.zeros(1 << WORD_BITS, np.uint32)
        for path in self.paths:
            with np.load(self._file("counts", path)) as found:
                places = found["grams"]
                grams[places] = np.minimum(grams[places] + found["gram_pages"], 0xFFFF)
                words[found["words"]] += found["word_pages"]
        grams.flush()
        np.save(self.scratch / "words.npy", words)

    def _collect(self) -> None:
        """Pass 2: where the phrases are that may be rare and frequent enough."""
        shards = [
            (path, self._file("found", path), number, self.scratch, self.config, self.pages)
            for number, path in enumerate(self.paths)
        ]
        self._map(_collect_shard, "collected", shards)

    def _map(self, function: Any, step: str, shards: list[Any]) -> None:
        named = [(f"{step}-{path.stem}", shard) for path, shard in zip(self.paths, shards, strict=True)]
        map_shards(function, named, self.documents, workers=self.workers, label="poisoning")

    def _file(self, kind: str, shard: Path) -> Path:
        return self.scratch / f"{kind}-{shard.stem}.{'npz' if kind == 'counts' else 'npy'}"

    def _judge(self) -> list[Alarm]:
        """Pass 3: phrases that stand among different words on different sites, then their pages."""
        words = np.load(self.scratch / "words.npy", mmap_mode="r")
        found = [np.load(self._file("found", path), mmap_mode="r") for path in self.paths]
        candidates: list[_Candidate] = []
        parts = max(4, (sum(rows.nbytes for rows in found) // PART_BYTES).bit_length())  # a power of 2, as hashes are
        for part in range(1 << parts):
            low, high = np.uint64(part << 64 - parts), np.uint64(((part + 1) << 64 - parts) - 1)
            slices = [
                np.array(rows[np.searchsorted(rows["gram"], low) : np.searchsorted(rows["gram"], high, "right")])
                for rows in found
            ]
            candidates += _candidates(np.concatenate(slices), self.config, self.pages)
        background = self._background()
        places = {place for candidate in candidates for place in candidate.places}
        pages = self._read(places.union(*background.values()))
        usual = {
            language: _likeness([pages[place].topics(words) for place in found])
            for language, found in background.items()
        }
        found = [_alarm(candidate, pages, words, usual, self.config) for candidate in candidates]
        # a phrase of many words is found from its beginning and from its end
        by_phrase: dict[str, Alarm] = {}
        for alarm in sorted((alarm for alarm in found if alarm), key=lambda alarm: (-alarm.lift, alarm.doc_ids)):
            by_phrase.setdefault(alarm.phrase.casefold(), alarm)
        return sorted(by_phrase.values(), key=lambda alarm: (-alarm.pages, alarm.phrase))

    def _read(self, places: set[tuple[int, int]]) -> dict[tuple[int, int], "_Page"]:
        pages = {}
        for number, path in enumerate(self.paths):
            wanted = {row for shard, row in places if shard == number}
            if wanted:
                rows = enumerate(read_shard(path, columns=["doc_id", "url", "text", "language"]))
                pages |= {(number, at): _Page.of(row) for at, row in rows if at in wanted}
        return pages

    def _background(self) -> dict[str, list[tuple[int, int]]]:
        """Language → pages in it, those with the smallest hashes."""
        smallest: dict[str, list[tuple[int, tuple[int, int]]]] = defaultdict(list)
        for number, path in enumerate(self.paths):
            for at, row in enumerate(read_shard(path, columns=["doc_id", "language"])):
                smallest[row["language"] or "und"].append((_hash(row["doc_id"]), (number, at)))
            smallest = defaultdict(list, {code: sorted(found)[:BACKGROUND] for code, found in smallest.items()})
        return {language: [place for _, place in found] for language, found in smallest.items()}


def _table_bits(pages: int, min_pages: int) -> int:
    """A counter has 2 bytes: 2 MB for the smallest corpora, 64 MB for 200,000 pages, 2 GB on disk for 10 million."""
    return min(max(math.ceil(math.log2(max(1, pages * GRAMS_PER_PAGE * 10 / min_pages))), 20), 32)


def _count_shard(shard: tuple[Path, Path, int]) -> dict[str, Any]:
    path, out, table_bits = shard
    grams, words, hashing = [], [], _Hashing()
    for row in read_shard(path, columns=["text", "language"]):
        hashes = hashing.of(row["text"])
        buckets = np.append(_word_buckets(hashes, row["language"]), _language_bucket(row["language"]))
        grams.append(np.unique(ngram_hashes(hashes, N) >> np.uint64(64 - table_bits)).astype(np.uint32))
        words.append(np.unique(buckets))
    counted = {}
    for name, found in (("gram", grams), ("word", words)):
        counted[f"{name}s"], counted[f"{name}_pages"] = _counts(found)
    with out.open("wb") as file:
        np.savez(file, **counted)
    return {}


def _counts(found: list[NDArray[np.uint32]]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    values, counts = np.unique(np.concatenate(found or [np.zeros(0, np.uint32)]), return_counts=True)
    return values, counts.astype(np.uint32)


def _collect_shard(shard: tuple[Path, Path, int, Path, PoisoningConfig, int]) -> dict[str, Any]:
    path, out, number, scratch, config, pages = shard
    grams = np.load(scratch / "grams.npy", mmap_mode="r")
    words = np.load(scratch / "words.npy", mmap_mode="r")
    hashing, domains, found = _Hashing(), RegisteredDomains(), []
    most = max(config.max_page_share * pages, config.min_pages)
    unused_bits = np.uint64(64 - _table_bits(pages, config.min_pages))
    for at, row in enumerate(read_shard(path, columns=["doc_id", "url", "text", "language"])):
        hashes = hashing.of(row["text"])
        phrases = ngram_hashes(hashes, N)
        if not len(phrases):
            continue
        _, first = np.unique(phrases, return_index=True)
        counts = grams[phrases[first] >> unused_bits]
        first = first[(counts >= config.min_pages) & ((counts <= most) | (counts == 0xFFFF))]
        counts = grams[phrases[first] >> unused_bits]
        first = first[counts >= config.min_lift * _by_chance(hashes, first, row["language"], words)]
        if not len(first):
            continue
        records = np.zeros(len(first), _RECORD)
        records["gram"], records["at"] = phrases[first], first
        records["page"], records["shard"], records["row"] = _hash(row["doc_id"]), number, at
        records["domain"] = _hash(domains.of(row["url"]))
        # no neighbour at either end of a text: a value of its own for each page, since it is no common word
        around = np.concatenate([records["page"][:1], hashes, records["page"][:1]])
        records["before"], records["after"] = around[first], around[first + N + 1]
        found.append(records)
    records = np.concatenate(found or [np.zeros(0, _RECORD)])
    with out.open("wb") as file:
        np.save(file, np.sort(records, order=["gram", "page"]))
    return {}


def _by_chance(
    hashes: Hashes, first: NDArray[Any], language: str | None, words: NDArray[np.uint32]
) -> NDArray[np.float64]:
    """Pages on which the words of each phrase would all be, were they spread at random over the language's pages."""
    pages = words[_language_bucket(language)]
    share = words[_word_buckets(hashes, language)] / pages
    return pages * np.prod([share[first + offset] for offset in range(N)], axis=0)


def _word_buckets(hashes: Hashes, language: str | None) -> NDArray[np.uint32]:
    """Counters of words. Each language has its own: the words of a small one are not rare."""
    return ((hashes ^ np.uint64(_hash(language or "und"))) >> np.uint64(64 - WORD_BITS)).astype(np.uint32)


def _language_bucket(language: str | None) -> np.uint32:
    """The counter of a language's pages: that of a word that each of them has."""
    return _word_buckets(np.zeros(1, np.uint64), language)[0]


@dataclass(frozen=True)
class _Candidate:
    pages: int
    domains: int
    places: tuple[tuple[int, int], ...]
    """(shard, row) of the sampled pages."""
    at: tuple[int, ...]
    """Where the phrase begins there."""


def _candidates(records: NDArray[Any], config: PoisoningConfig, pages: int) -> Iterator[_Candidate]:
    """Phrases on pages enough of domains enough, that begin or end where they do: no word stands there too often."""
    records = np.sort(records, order=["gram", "page"])
    bounds = np.flatnonzero(np.r_[True, records["gram"][1:] != records["gram"][:-1], True]) if len(records) else []
    for start, end in pairwise(bounds):
        count = int(end - start)
        if not config.min_pages <= count <= max(config.max_page_share * pages, config.min_pages):
            continue
        group = records[start:end]
        domains = len(np.unique(group["domain"]))
        if domains < config.min_domain_share * count:
            continue
        if min(_largest_share(group["before"]), _largest_share(group["after"])) > config.max_neighbour_share:
            continue
        sample = group[:SAMPLE]
        places = tuple((int(shard), int(row)) for shard, row in zip(sample["shard"], sample["row"], strict=True))
        yield _Candidate(count, domains, places, tuple(map(int, sample["at"])))


def _largest_share(values: Hashes) -> float:
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


@dataclass(frozen=True)
class _Page:
    doc_id: str
    url: str
    language: str
    tokens: tuple[str, ...]
    written: tuple[tuple[int, int], ...]
    text: str
    hashes: Hashes

    @classmethod
    def of(cls, row: dict[str, Any]) -> "_Page":
        found = list(_TOKEN.finditer(row["text"]))
        tokens = tuple(match[0].casefold() for match in found)
        return cls(
            row["doc_id"],
            row["url"],
            row["language"] or "und",
            tokens,
            tuple(match.span() for match in found),
            row["text"],
            _Hashing().of(row["text"]),
        )

    def topics(self, words: NDArray[np.uint32], phrase_at: int | None = None) -> dict[int, float]:
        """Word → weight of the words that say what a page is about: neither common nor unique, and not those near the
        phrase, which would make its pages alike."""
        near = range(0) if phrase_at is None else range(max(0, phrase_at - MAX_PHRASE), phrase_at + 2 * MAX_PHRASE)
        away = np.delete(self.hashes, [at for at in near if at < len(self.hashes)])
        kinds = np.unique(away)
        pages, counts = words[_language_bucket(self.language)], words[_word_buckets(kinds, self.language)]
        told = (counts >= 2) & (counts <= 0.1 * pages)
        weights = np.log(pages / counts[told])
        return dict(zip(kinds[told].tolist(), weights.tolist(), strict=True))


def _likeness(topics: list[dict[int, float]]) -> float:
    """Mean cosine of all pairs."""
    norms = [sum(weight * weight for weight in page.values()) ** 0.5 for page in topics]
    total, pairs = 0.0, 0
    for index, page in enumerate(topics):
        for other in range(index):
            if norms[index] and norms[other]:
                small, large = sorted((page, topics[other]), key=len)
                product = sum(weight * large[word] for word, weight in small.items() if word in large)
                total += product / (norms[index] * norms[other])
            pairs += 1
    return total / pairs if pairs else 0.0


def _alarm(
    candidate: _Candidate,
    pages: dict[tuple[int, int], _Page],
    words: NDArray[np.uint32],
    usual: dict[str, float],
    config: PoisoningConfig,
) -> Alarm | None:
    read = [(pages[place], at) for place, at in zip(candidate.places, candidate.at, strict=True)]
    before, shares = 0, [0.0, 0.0]
    after = N
    for side in (0, 1):
        while after + before <= MAX_PHRASE:
            offset = after if side else -before - 1
            shares[side], agrees = _agreement(read, offset)
            if not agrees:
                break
            before, after = (before, after + 1) if side else (before + 1, after)
    if before + after > MAX_PHRASE or max(shares) > config.max_neighbour_share:
        return None
    first, at = read[0]
    if not _is_phrase(first.tokens[at - before : at + after]):
        return None
    (language, _), *_ = Counter(page.language for page, _ in read).most_common(1)
    chance = float(_by_chance(first.hashes, np.array([at]), first.language, words)[0])
    if candidate.pages < config.min_lift * chance:
        return None  # what shares its counter made it look more frequent than it is
    # where a language has few pages or one site, nothing is unusual
    likeness = _likeness([page.topics(words, at) for page, at in read]) / max(usual[language], 1e-4)
    if likeness > config.max_likeness:
        return None
    begin, end = first.written[at - before][0], first.written[at + after - 1][1]
    return Alarm(
        phrase=" ".join(first.text[begin:end].split()),
        pages=candidate.pages,
        domains=candidate.domains,
        lift=round(candidate.pages / chance, 1),
        neighbour_share=round(max(shares), 3),
        likeness=round(likeness, 3),
        doc_ids=[page.doc_id for page, _ in read],
        urls=[page.url for page, _ in read[:5]],
        context=" ".join(first.text[max(0, begin - 100) : end + 100].split()),
    )


def _is_phrase(tokens: tuple[str, ...]) -> bool:
    """Whether there are letters in it, and more than a word: without spaces, a character is about half of one."""
    unspaced = sum(bool(_UNSPACED.match(token)) for token in tokens)
    return any(token.isalpha() for token in tokens) and len(tokens) - unspaced / 2 >= N


def _agreement(read: list[tuple[_Page, int]], offset: int) -> tuple[float, bool]:
    """Share of the pages where the most frequent word stands at this distance from the phrase, and whether it belongs
    to the phrase. The end of a text agrees with nothing."""
    words = Counter(page.tokens[at + offset] for page, at in read if 0 <= at + offset < len(page.tokens))
    count = max(words.values(), default=0)
    return count / len(read), count >= AGREEMENT * len(read)


class _Hashing:
    """Hashes of a text's words and signs, small letters, in order. Words that were seen are remembered."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, text: str) -> Hashes:
        tokens = _TOKEN.findall(text)
        known = self._known
        if len(known) > 1_000_000:
            known.clear()
        for token in set(tokens).difference(known):
            known[token] = _hash(token.casefold())
        return np.fromiter((known[token] for token in tokens), np.uint64, len(tokens))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")
