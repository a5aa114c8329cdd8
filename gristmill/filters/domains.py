"""A cap on the share of one domain: whoever owns a site, or buys one, is not to write a large part of a corpus.

Domains are registered ones, by the Public Suffix List with its private part: `anna.github.io` and `otto.github.io`
belong to different people. Which documents of a domain stay is decided by a hash of their doc_id. A few hundred pages
are enough to poison a model (Souly et al. 2025, arXiv:2510.07192): a cap bounds an owner's part, no more.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from publicsuffixlist import PublicSuffixList

from gristmill.text.order import place

Refusal = tuple[str, str, str]
RULE = "max_domain_share"


@cache
def public_suffixes(*, accept_unknown: bool = True) -> PublicSuffixList:
    """The Public Suffix List as shipped by publicsuffixlist; reading its 10,000 rules takes 0.15 s, so once a process.

    accept_unknown: whether a top-level domain that is not on the list counts as a suffix.
    """
    return PublicSuffixList(accept_unknown=accept_unknown)


class RegisteredDomains:
    """The registered domain of URLs. Hosts are remembered, since pages come in runs of one host."""

    def __init__(self) -> None:
        self._suffixes = public_suffixes()
        self._known: dict[str, str] = {}

    def of(self, url: str | None) -> str:
        """`example.co.uk` for https://www.example.co.uk/a; the host itself where no domain is registered, such as an IP
        address; `` for what is no URL."""
        host = _host(url or "")
        if host not in self._known:
            if len(self._known) > 100_000:
                self._known.clear()
            is_number = host.replace(".", "").isdigit() or ":" in host
            self._known[host] = host if is_number else self._suffixes.privatesuffix(host) or host
        return self._known[host]


@dataclass(frozen=True)
class DomainCaps:
    """caps: domain → (share it would have, first position that stays out), for the domains that are cut."""

    share: float
    caps: Mapping[str, tuple[float, float]]

    def refuse(self, document: Mapping[str, Any], domains: RegisteredDomains) -> Refusal | None:
        """(rule, share that the domain would have, cap) for a document that is cut."""
        cap = self.caps.get(domains.of(document["url"])) if self.caps else None
        if cap is None or _position(document["doc_id"]) < cap[1]:
            return None
        return RULE, f"{cap[0]:.4f}", str(self.share)


def domain_caps(rows: Callable[[], Iterable[Mapping[str, Any]]], *, share: float, floor: int) -> DomainCaps:
    """Which documents a cap cuts, from two passes over the rows of all documents that would be kept (doc_id, url).

    share: of all documents that are kept at most. floor: documents that a domain keeps whatever its share, so that a
    small corpus, or one of few sites, is not cut to nothing.
    """
    domains = RegisteredDomains()
    counts = Counter(domains.of(row["url"]) for row in rows())
    most = _most(list(counts.values()), share, floor)
    positions: dict[str, list[float]] = {domain: [] for domain, count in counts.items() if count > most}
    for row in rows() if positions else ():
        found = positions.get(domains.of(row["url"]))
        if found is not None:
            found.append(_position(row["doc_id"]))
    total = sum(counts.values())
    caps = {
        domain: (counts[domain] / total, float(np.partition(found, most)[most])) for domain, found in positions.items()
    }
    return DomainCaps(share, caps)


def _most(counts: list[int], share: float, floor: int) -> int:
    """Documents that a domain keeps at most: `share` of all that are kept, which depends on it. The largest answer."""
    sizes = np.array(counts, np.int64)
    total = int(sizes.sum())
    while True:
        most = max(floor, int(share * total + 1e-9))
        kept = int(np.minimum(sizes, most).sum())
        if kept == total:
            return most
        total = kept


def _position(doc_id: str) -> float:
    return place(doc_id, seed=0, purpose=RULE)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").strip(".")
    except ValueError:
        return ""
