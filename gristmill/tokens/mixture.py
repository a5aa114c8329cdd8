"""The queue of a mixture: every time a page may be seen has a place in it, and a mixture is the head of the queue.

A page's n-th visit (from 0) stands at `(n + place) / rate` of its group, where place is uniform in [0, 1) by hash. So
up to any point pages are seen in proportion to their rates, which of them are seen once more than others is chance,
and the places below 1 are every page at its rate. Groups are merged by weighted fair queueing (Demers, Keshav and
Shenker 1989): a visit's turn comes when its group, given tokens in proportion to its weight, has had as many as its own
queue holds up to there. A group at its end leaves its turns to the others. First languages are merged within each
source, then sources.

Since the queue does not depend on the mixture's length, a longer mixture only adds visits.
Memory: some 60 bytes a visit while visits are sorted (benchmarks/mix_growth.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Pages:
    """What decides about each of n pages, in the order of their ids. All arrays are [n]."""

    place: Floats
    """In [0, 1), by hash."""
    rate: Floats
    """0: never seen."""
    source: Integers
    language: Integers
    """Numbers of the page's source and language, from 0."""
    tokens: Integers
    """What shares are counted in; at least 1."""
    chars: Integers


@dataclass(frozen=True)
class Queue:
    """Visits in their order, one entry each."""

    page: NDArray[np.int32]
    """The page that is seen."""
    due: NDArray[np.bool_]
    """The page has not been seen at its rate before."""


def line_up(
    pages: Pages, *, source_weights: Floats | None, language_weights: Floats | None, max_epochs: float
) -> Queue:
    """The whole queue. Weights by number of source and language; None: no shares are held between these groups."""
    seen = pages.rate > 0
    for weights, group in ((source_weights, pages.source), (language_weights, pages.language)):
        if weights is not None:
            seen = seen & (weights[group] > 0)
    visits = np.where(seen, np.ceil(max_epochs - pages.place).clip(0), 0).astype(np.int64)
    page = np.repeat(np.arange(len(visits), dtype=np.int32), visits)
    position = np.arange(len(page), dtype=np.float64)
    position -= np.repeat(np.cumsum(visits) - visits, visits)  # the n of the n-th visit
    position += pages.place[page]
    position /= pages.rate[page]
    order = np.argsort(position, kind="stable")  # of equal ones the smaller id is first
    queue = Queue(page[order], position[order] < 1)
    del page, position, order
    if language_weights is not None and source_weights is not None:
        cells = pages.source * len(language_weights) + pages.language
        queue = _merged(queue, cells, np.tile(language_weights, len(source_weights)), pages.tokens)
    elif language_weights is not None:
        queue = _merged(queue, pages.language, language_weights, pages.tokens)
    if source_weights is not None:
        queue = _merged(queue, pages.source, source_weights, pages.tokens)
    return queue


def _merged(queue: Queue, group: Integers, weights: Floats, tokens: Integers) -> Queue:
    """Each group's visits in their order, in turns by weight. group: of each page."""
    mine = group[queue.page]
    by_group = np.argsort(mine, kind="stable")
    turn = np.cumsum(tokens[queue.page[by_group]], dtype=np.float64)  # whole numbers below 2^53 are exact
    sizes = np.bincount(mine, weights=tokens[queue.page], minlength=len(weights))
    mine = mine[by_group]
    turn -= (np.cumsum(sizes) - sizes)[mine]
    turn /= weights[mine]
    in_queue = np.empty_like(turn)
    in_queue[by_group] = turn
    del mine, by_group, turn
    order = np.argsort(in_queue, kind="stable")
    return Queue(queue.page[order], queue.due[order])


def places_within(queue: Queue, sizes: Integers | None, most: int) -> int:
    """Visits in the longest head of the queue that is no larger than this. sizes: of each page; None: each is 1."""
    if sizes is None:
        return min(most, len(queue.page))
    return int(np.searchsorted(np.cumsum(sizes[queue.page]), most, side="right"))


def places_due(queue: Queue) -> int:
    """Visits up to the last one that was due: the rest would only repeat."""
    due = np.flatnonzero(queue.due)
    return int(due[-1]) + 1 if len(due) else 0


def places_in_proportion(queue: Queue, group: Integers) -> tuple[int, int]:
    """Visits until the first group is at its end, and which group that is. group: of each page; the queue is not
    empty."""
    last = np.full(int(group.max()) + 1, -1)
    last[group[queue.page]] = np.arange(len(queue.page))
    present = np.flatnonzero(last >= 0)
    first = int(present[np.argmin(last[present])])
    return int(last[first]) + 1, first


def epochs(queue: Queue, end: int, pages: int) -> NDArray[np.int64]:
    """[pages]: how often each page is seen in the first `end` visits."""
    return np.bincount(queue.page[:end], minlength=pages)


def first_places(queue: Queue, pages: int) -> NDArray[np.int64]:
    """[pages]: each page's first place in the queue, from 0; -1 for one that has none."""
    places = np.full(pages, -1)
    places[queue.page[::-1]] = np.arange(len(queue.page))[::-1]  # of several values the last one stays
    return places
