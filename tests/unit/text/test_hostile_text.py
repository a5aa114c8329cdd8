"""No text makes a regular expression go back and forth: what reads crawled text takes time by its length alone."""

import time
from collections.abc import Callable

import pytest

from gristmill.addresses import without_secrets
from gristmill.crawl.licenses import license_of_text
from gristmill.crawl.urls import canonical_url
from gristmill.crawl.wikitext import plain_text
from gristmill.filters.heuristics import Vocabulary, measure
from gristmill.filters.pii import PiiMasker
from gristmill.filters.pii_config import PiiConfig
from gristmill.text.clean import clean_text
from gristmill.text.lookalikes import repair_lookalikes
from gristmill.text.reservations import ReservationConfig, reserved
from gristmill.text.words import words

LENGTH = 100_000
CPU_S = 3.0
"""The slowest takes 0.5 s; what is quadratic takes minutes."""
MASKER = PiiMasker(PiiConfig())
READERS: dict[str, Callable[[str], object]] = {
    "quality signals": lambda text: measure(text, Vocabulary(frozenset(["the"]))),
    "private data": lambda text: MASKER.mask(text, "en"),
    "clean text": clean_text,
    "words": words,
    "lookalikes": repair_lookalikes,
    "reservations": lambda text: reserved({"x-robots-tag": [text[:8_000]]}, text, ReservationConfig()),
    "wikitext": plain_text,
    "licence": license_of_text,
    "URL": lambda text: canonical_url(f"http://a.org/{text[:20_000]}"),
    "error text": without_secrets,
}
PARTS = [
    *("a", "a.", "a@", "1", "1 ", "1-", "+1 ", "(1", "1.", "DE8 ", "::", "0:", "AKIA", "a.b@c.", "sk-", "a-b."),
    *("http://", "://a", "<meta ", "<!--", "[[", "{{", "{|", "''", "==", "&lt;", "\n", " \n", "\t ", "aа", "ё́"),
    *("…", "!?", "日本", "-----BEGIN ", "password=", "%2", "\u200b", "\u0301", "://a:", "://a:b@"),
]


@pytest.mark.parametrize("reader", READERS)
def test_time_grows_with_the_length_of_the_text(reader: str):
    for part in PARTS:
        text = part * (LENGTH // len(part))
        started = time.process_time()
        READERS[reader](text)
        assert time.process_time() - started < CPU_S, f"{reader} of {part!r}, repeated"
