"""The queue of a mixture, against one that is built visit by visit."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.tokens.mixture import (
    Pages,
    Queue,
    epochs,
    first_places,
    line_up,
    places_due,
    places_in_proportion,
    places_within,
)

SOURCES, LANGUAGES = 3, 2

page_of = st.fixed_dictionaries(
    {
        # few places and sizes, so that ties are common
        "place": st.integers(0, 15).map(lambda step: step / 16),
        "rate": st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]),
        "source": st.integers(0, SOURCES - 1),
        "language": st.integers(0, LANGUAGES - 1),
        "tokens": st.integers(1, 5),
    }
)
weights_of = st.integers(0, 4)
sizes = st.fixed_dictionaries(
    {
        "source_weights": st.none() | st.lists(weights_of, min_size=SOURCES, max_size=SOURCES),
        "language_weights": st.none() | st.lists(weights_of, min_size=LANGUAGES, max_size=LANGUAGES),
        "max_epochs": st.sampled_from([0.5, 1.0, 1.25, 2.5, 4.0]),
    }
)


def pages_of(rows: list[dict[str, Any]]) -> Pages:
    columns = {name: np.array([row[name] for row in rows]) for name in ("place", "rate", "source", "language")}
    tokens = np.array([row["tokens"] for row in rows], np.int64)
    return Pages(**columns, tokens=tokens, chars=4 * tokens)


def lined_up(rows: list[dict[str, Any]], options: dict[str, Any]) -> Queue:
    weights = {
        name: None if options[name] is None else np.array(options[name], float)
        for name in ("source_weights", "language_weights")
    }
    return line_up(pages_of(rows), **weights, max_epochs=options["max_epochs"])


def step_by_step(rows: list[dict[str, Any]], options: dict[str, Any]) -> list[int]:
    """The same queue, one visit after the other: whoever is first by fair queueing with exact fractions."""
    languages, sources = options["language_weights"], options["source_weights"]
    visits = []
    for number, row in enumerate(rows):
        allowed = row["rate"] and (sources is None or sources[row["source"]])
        nth = 0
        while allowed and nth + row["place"] < options["max_epochs"]:
            visits.append((Fraction(nth + row["place"]) / Fraction(row["rate"]), number))
            nth += 1
    order = [number for _, number in sorted(visits)]
    if languages is not None:
        keys = {number: (row["source"] if sources else 0, row["language"]) for number, row in enumerate(rows)}
        order = _in_turns(order, rows, keys, lambda key: languages[key[1]], apart=lambda key: key[0])
    if sources is not None:
        keys = {number: row["source"] for number, row in enumerate(rows)}
        order = _in_turns(order, rows, keys, lambda key: sources[key], apart=lambda key: 0)
    return order


def _in_turns(order, rows, keys, weight, apart) -> list[int]:
    """apart: groups that have a queue of their own; these are joined one after the other, since a later merge parts
    them again."""
    joined = []
    for part in sorted({apart(keys[number]) for number in order}):
        waiting: dict[Any, list[tuple[int, int]]] = {}
        for rank, number in enumerate(order):
            if apart(keys[number]) == part and weight(keys[number]):
                waiting.setdefault(keys[number], []).append((rank, number))
        had: dict[Any, int] = dict.fromkeys(waiting, 0)
        while any(waiting.values()):
            turns = []
            for key, queue in waiting.items():
                if queue:
                    rank, number = queue[0]
                    turns.append((Fraction(had[key] + rows[number]["tokens"], weight(key)), rank, key))
            _, _, key = min(turns)
            _, number = waiting[key].pop(0)
            had[key] += rows[number]["tokens"]
            joined.append(number)
    return joined


@given(st.lists(page_of, min_size=1, max_size=12), sizes)
def test_the_queue_is_the_one_built_visit_by_visit(rows, options):
    queue = lined_up(rows, options)
    if options["source_weights"] and options["language_weights"]:
        # ties between sources are decided by a joint order that the plain construction does not have
        for source in range(SOURCES):
            mine = [number for number in queue.page.tolist() if rows[number]["source"] == source]
            expected = [n for n in step_by_step(rows, options) if rows[n]["source"] == source]
            assert mine == expected
    else:
        assert queue.page.tolist() == step_by_step(rows, options)


@given(st.lists(page_of, min_size=1, max_size=12), sizes)
def test_nobody_is_seen_more_often_than_max_epochs_and_at_the_end_everyone_has_been(rows, options):
    queue = lined_up(rows, options)
    seen = epochs(queue, len(queue.page), len(rows))
    for number, row in enumerate(rows):
        weights = [options["source_weights"], options["language_weights"]]
        shut_out = row["rate"] == 0 or any(
            given is not None and given[row[name]] == 0
            for given, name in zip(weights, ("source", "language"), strict=True)
        )
        # 2.5: two times, and a third time for pages in the lower half
        full, rest = divmod(options["max_epochs"], 1)
        assert seen[number] == (0 if shut_out else full + (row["place"] < rest))


@given(st.lists(page_of, min_size=1, max_size=12), sizes, st.integers(0, 60), st.integers(0, 60))
def test_a_longer_mixture_only_adds_visits_and_none_is_longer_than_asked_for(rows, options, one, other):
    queue, pages = lined_up(rows, options), pages_of(rows)
    less, more = sorted((one, other))
    short, long = (places_within(queue, pages.tokens, most) for most in (less, more))
    assert (epochs(queue, short, len(rows)) <= epochs(queue, long, len(rows))).all()
    for most, end in ((less, short), (more, long)):
        assert pages.tokens[queue.page[:end]].sum() <= most
        assert end == len(queue.page) or pages.tokens[queue.page[: end + 1]].sum() > most


@given(st.lists(page_of, min_size=2, max_size=12), sizes)
def test_shares_are_held_to_within_a_page_while_no_group_is_at_its_end(rows, options):
    options = options | {"source_weights": [3, 2, 1]}
    queue, pages = lined_up(rows, options), pages_of(rows)
    if not len(queue.page):
        return
    end, _ = places_in_proportion(queue, pages.source)
    given = np.array(
        [pages.tokens[queue.page[:end]][pages.source[queue.page[:end]] == s].sum() for s in range(SOURCES)]
    )
    present = np.isin(np.arange(SOURCES), pages.source[queue.page])
    turn = given / np.array([3, 2, 1])
    largest = max(5 / weight for weight, here in zip([3, 2, 1], present, strict=True) if here)
    assert turn[present].max() - turn[present].min() <= largest + 1e-9


def test_places_by_hand():
    rows = [
        {"place": 0.5, "rate": 1.0, "source": 0, "language": 0, "tokens": 10},  # visits at .5 and 1.5
        {"place": 0.25, "rate": 2.0, "source": 0, "language": 0, "tokens": 10},  # at .125, .625; a third would be 1.125
        {"place": 0.9, "rate": 0.5, "source": 0, "language": 0, "tokens": 10},  # at 1.8 and 3.8
    ]
    queue = lined_up(rows, {"source_weights": None, "language_weights": None, "max_epochs": 2})
    assert queue.page.tolist() == [1, 0, 1, 0, 2, 2]
    assert queue.due.tolist() == [True, True, True, False, False, False]
    assert places_due(queue) == 3
    assert epochs(queue, 3, 3).tolist() == [1, 2, 0]
    assert first_places(queue, 3).tolist() == [1, 0, 4]
    assert (places_within(queue, None, 2), places_within(queue, None, 9)) == (2, 6)


def test_turns_by_hand():
    # two books of 30 tokens against six web pages of 10, three to one: a book's turn comes at 10 and 20, a page's at
    # 10, 20, 30, …
    rows = [{"place": n / 16, "rate": 1.0, "source": 0, "language": 0, "tokens": 30} for n in range(2)]
    rows += [{"place": n / 16, "rate": 1.0, "source": 1, "language": 0, "tokens": 10} for n in range(8, 14)]
    queue = lined_up(rows, {"source_weights": [3, 1, 0], "language_weights": None, "max_epochs": 1})
    assert queue.page.tolist() == [0, 2, 1, 3, 4, 5, 6, 7]
    assert places_in_proportion(queue, pages_of(rows).source) == (3, 0)


@pytest.mark.parametrize("count", [0, 1])
def test_a_queue_of_none_or_one(count):
    rows = [{"place": 0.5, "rate": 1.0, "source": 0, "language": 0, "tokens": 1}][:count]
    pages = Pages(*(np.zeros(count) + 0.5, np.ones(count)), *(np.zeros(count, int),) * 2, *(np.ones(count, int),) * 2)
    queue = line_up(pages, source_weights=np.ones(1), language_weights=np.ones(1), max_epochs=1)
    assert queue.page.tolist() == [0] * count
    assert places_due(queue) == count == len(rows)
