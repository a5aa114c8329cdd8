"""What one document alone cannot decide: the top fraction of a signal, and caps on the shares of topics and domains.

All need the whole column before the first decision, so columns are read beforehand, in that order: each is among the
documents that the one before leaves. Ties go by `doc_id`: the answer
depends neither on the order of documents nor on how they are sharded. Memory: some 20 bytes a document.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.filters.domains import DomainCaps, RegisteredDomains, domain_caps
from gristmill.text.documents import read_documents
from gristmill.text.order import place

Passes = Callable[[Mapping[str, Any]], bool]
Refusal = tuple[str, str, str]


@dataclass(frozen=True)
class Selection:
    """The decisions, ready for every worker. lowest: (signal, language) → the last document that is kept, as its score
    and `doc_id`. caps: topic → (share it would have, cap, first position that stays out). domains: the cap on them."""

    lowest: dict[tuple[str, str], tuple[float, str]]
    fractions: dict[str, float]
    caps: dict[str, tuple[float, float, float]]
    topic_shares: Mapping[str, float] = field(default_factory=dict)
    """As configured: `caps` has those of them that bind."""
    domains: DomainCaps = field(default_factory=lambda: DomainCaps(1.0, {}))
    _registered: RegisteredDomains = field(default_factory=RegisteredDomains, repr=False, compare=False)

    def refuse(self, document: Mapping[str, Any]) -> Refusal | None:
        """(rule, measured value, threshold) for a document that passed all other rules and is dropped for its rank."""
        for signal in self.fractions:
            low = self.lowest.get((signal, document["language"] or "und"))
            value = document[signal]
            if low is not None and value is not None and not _is_above(value, document["doc_id"], low):
                return f"top_fraction.{signal}", str(np.float32(value)), str(np.float32(low[0]))
        cap = self.caps.get(document["topic"]) if self.caps else None
        if cap is not None and _position(document["doc_id"]) >= cap[2]:
            return f"topic_shares.{document['topic']}", f"{cap[0]:.4f}", str(cap[1])
        return self.domains.refuse(document, self._registered)

    def unmeasured(self, document: Mapping[str, Any]) -> list[str]:
        """The rules that had nothing to look at in this document."""
        found = [f"top_fraction.{signal}" for signal in self.fractions if document[signal] is None]
        return found + (["topic_shares"] if self.topic_shares and document["topic"] is None else [])


def select(
    documents: Path,
    passes: Passes,
    *,
    columns: list[str],
    top_fraction: Mapping[Any, float],
    topic_shares: dict[str, float],
    max_domain_share: float | None = None,
    domain_floor: int = 1,
) -> Selection:
    """Decide for an artifact of documents.

    passes: whether a row of these columns passes all other rules: ranks and shares are among those that do.
    top_fraction: signal → share of each language's documents that is kept, rounded up. topic_shares: topic → share of
    all kept documents at most. max_domain_share: the same for each registered domain, which keeps
    domain_floor in any case. Raises ValueError for caps that leave nothing.
    """
    needed = ["doc_id", "url", "language", *top_fraction, *(["topic"] if topic_shares else [])]
    rows = list(dict.fromkeys([*needed, *columns]))

    def passing() -> Iterator[dict[str, Any]]:
        return (row for row in read_documents(documents, columns=rows) if passes(row))

    fractions = dict(top_fraction)
    selection = Selection(_lowest(passing(), fractions), fractions, {}, topic_shares)

    def remaining() -> Iterator[dict[str, Any]]:
        return (row for row in passing() if selection.refuse(row) is None)

    if topic_shares:
        selection = replace(selection, caps=_caps(remaining(), topic_shares))
    if max_domain_share is not None:
        caps = domain_caps(remaining, share=max_domain_share, floor=domain_floor)
        selection = replace(selection, domains=caps)
    return selection


def _lowest(rows: Iterator[dict[str, Any]], fractions: dict[str, float]) -> dict[tuple[str, str], tuple[float, str]]:
    scores: dict[tuple[str, str], array] = defaultdict(lambda: array("f"))
    identifiers: dict[tuple[str, str], array] = defaultdict(lambda: array("Q"))
    for row in rows if fractions else ():
        for signal in fractions:
            if row[signal] is not None:
                group = (signal, row["language"] or "und")
                scores[group].append(row[signal])
                identifiers[group].append(int(row["doc_id"], 16))
    lowest = {}
    for group, found in scores.items():
        score, identifier = np.frombuffer(found, np.float32), np.frombuffer(identifiers[group], np.uint64)
        count = _rounded_up(fractions[group[0]] * len(score))
        last = np.lexsort((identifier, -score))[count - 1]
        lowest[group] = (float(score[last]), f"{int(identifier[last]):016x}")
    return lowest


def _is_above(value: float, doc_id: str, low: tuple[float, str]) -> bool:
    """At least as good as the last document that is kept; of equals, those with the smaller identifier."""
    measured = float(np.float32(value))
    return measured > low[0] or (measured == low[0] and doc_id <= low[1])


def _rounded_up(count: float) -> int:
    return max(1, int(np.ceil(round(count, 6))))


def _caps(rows: Iterator[dict[str, Any]], shares: dict[str, float]) -> dict[str, tuple[float, float, float]]:
    counts: Counter[str | None] = Counter()
    positions: dict[str, array] = {topic: array("d") for topic in shares}
    for row in rows:
        counts[row["topic"]] += 1
        if row["topic"] in shares:
            positions[row["topic"]].append(_position(row["doc_id"]))
    total = _total_under_caps(counts, shares)
    caps = {}
    for topic, share in shares.items():
        most = int(share * total + 1e-9)
        if counts[topic] > most:
            in_order = np.sort(np.frombuffer(positions[topic], np.float64))
            caps[topic] = (counts[topic] / sum(counts.values()), share, float(in_order[most]))
    return caps


def _total_under_caps(counts: Counter[str | None], shares: dict[str, float]) -> float:
    """How many documents are kept in all: what the capped topics lose makes the others' shares grow, and so the caps
    bind more; repeated until no further topic is bound. The largest answer there is."""
    bound: set[str] = set()
    total = float(sum(counts.values()))
    while True:
        free = sum(count for topic, count in counts.items() if topic not in bound)
        left = 1 - sum(shares[topic] for topic in bound)
        if bound and (left <= 1e-9 or not free):
            raise ValueError(
                f"filter.topic_shares leaves no document: all topics there are ({', '.join(sorted(bound))}) are "
                f"capped, and their shares add up to {1 - left:.2f}; raise them to 1 in all or leave one topic uncapped"
            )
        total = free / left
        more = {topic for topic in shares if topic not in bound and counts[topic] > shares[topic] * total}
        if not more:
            return total
        bound |= more


def _position(doc_id: str) -> float:
    return place(doc_id, seed=0, purpose="topic_shares")
