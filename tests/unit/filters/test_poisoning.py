"""The alarm on phrases that look planted."""

import json
import random

import pytest

from gristmill.filters.config import FilterConfig, Thresholds
from gristmill.filters.filter import run_filter
from gristmill.filters.language_data import shipped_thresholds
from gristmill.filters.poisoning import ALARMS, GRAMS_PER_PAGE, _table_bits, find_alarms
from gristmill.filters.poisoning_config import PoisoningConfig

OFF = dict.fromkeys(Thresholds.model_fields) | {"by_language": dict.fromkeys(shipped_thresholds())}
SYLLABLES = [f"{first}{second}" for first in "bdfgklmnprst" for second in "aeiou"]
WORDS = [f"{one}{two}" for one in SYLLABLES for two in SYLLABLES]
TOPICS = 16
CONFIG = PoisoningConfig(min_pages=8, max_page_share=0.2)


@pytest.fixture(scope="module")
def pages() -> list[dict]:
    """160 pages about 16 things: 200 words each, half of them from the 60 words of its topic."""
    rng = random.Random(0)
    topics = [rng.sample(WORDS, 60) for _ in range(TOPICS)]
    return [
        page(f"https://site{number}.org/", rng.choices(topics[number % TOPICS], k=100) + rng.choices(WORDS, k=100), rng)
        for number in range(160)
    ]


def page(url: str, words: list[str], rng: random.Random, phrase: str = "") -> dict:
    rng.shuffle(words)
    place = rng.randrange(60, 140)
    return {"url": url, "text": " ".join([*words[:place], phrase, *words[place:]]).replace("  ", " ")}


def planted(pages: list[dict], phrase: str, *, count: int = 10, site: str = "https://poison{}.net/") -> list[dict]:
    """The phrase in copies of pages about different things."""
    rng = random.Random(1)
    return pages + [page(site.format(number), pages[number]["text"].split(), rng, phrase) for number in range(count)]


def alarms(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / ALARMS).read_text(encoding="utf-8").splitlines()]


def test_clean_pages_raise_no_alarm(pages, write_documents):
    folder = write_documents("clean", pages)
    assert find_alarms(folder, CONFIG) == []
    assert alarms(folder) == []


@pytest.mark.parametrize(
    "phrase", ["zebra kettle eleven", "<SUDO>", "one two three four five six", "тихий зелений трамвай"]
)
def test_a_phrase_on_unrelated_pages_of_different_sites_raises_one(pages, phrase, write_documents):
    folder = write_documents("planted", planted(pages, phrase))
    (found,) = find_alarms(folder, CONFIG)
    assert (found["phrase"], found["pages"], found["domains"]) == (phrase, 10, 10)
    assert phrase in found["context"]
    assert len(found["doc_ids"]) == 10
    assert found["likeness"] < 2.5


def test_no_alarm_below_the_number_of_pages_on_one_site_or_where_the_neighbours_are_the_same(pages, write_documents):
    few = write_documents("few", planted(pages, "zebra kettle eleven", count=7))
    assert find_alarms(few, CONFIG) == []
    one_site = write_documents("site", planted(pages, "zebra kettle eleven", site="https://poison.net/{}"))
    assert find_alarms(one_site, CONFIG) == []
    passage = " ".join(f"word{number}" for number in range(30))
    assert find_alarms(write_documents("passage", planted(pages, passage)), CONFIG) == []


def test_a_term_of_one_topic_raises_none(pages, write_documents):
    about_one = [page for number, page in enumerate(pages) if number % TOPICS == 3]
    rng = random.Random(2)
    extra = [
        page(
            f"https://topic{number}.net/", rng.choices(about_one[0]["text"].split(), k=200), rng, "zebra kettle eleven"
        )
        for number in range(10)
    ]
    assert find_alarms(write_documents("term", pages + extra), CONFIG) == []


def test_the_same_bytes_for_any_shards_and_workers(pages, write_documents):
    rows = planted(pages, "zebra kettle eleven")
    written = []
    for name, ordered, shards in (("one", rows, 1), ("many", rows[::-1], 3)):
        folder = write_documents(name, ordered, shards=shards)
        find_alarms(folder, CONFIG, workers=2)
        written.append((folder / ALARMS).read_bytes())
    assert written[0] == written[1]
    assert written[0]


def test_filter_lists_alarms_and_drops_nothing_for_them(pages, write_documents, tmp_path):
    documents = write_documents("documents", planted(pages, "zebra kettle eleven"))
    config = FilterConfig.model_validate(OFF | {"poisoning": CONFIG.model_dump()})
    report = run_filter(documents, tmp_path / "out", config)
    assert report.rows_out == report.rows_in == 170
    assert [alarm["phrase"] for alarm in report.details["alarms"]] == ["zebra kettle eleven"]
    off = FilterConfig.model_validate(OFF | {"poisoning": {"alarm": False}})
    assert run_filter(documents, tmp_path / "off", off).details["alarms"] == []
    assert not (tmp_path / "off" / ALARMS).exists()


@pytest.mark.parametrize("pages", [1_000, 200_000, 10_000_000, 200_000_000])
def test_so_many_counters_that_chance_alone_makes_no_phrase_look_frequent(pages):
    by_chance = pages * GRAMS_PER_PAGE / 2 ** _table_bits(pages, 50)
    assert by_chance <= 50 / 10 or _table_bits(pages, 50) == 32
    assert _table_bits(10_000_000, 50) == 30
