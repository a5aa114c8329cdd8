"""Progress of long work: a bar in a terminal, plain lines otherwise; always on stderr.

The first line appears within FIRST_LINE_S, later ones every LINE_EVERY_S, so that a log of a night stays readable.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

FIRST_LINE_S = 4.0
LINE_EVERY_S = 15.0


class Bar(Protocol):
    def advance(self, amount: float = 1, *, note: str = "") -> None: ...


@contextmanager
def progress(label: str, *, total: float | None, unit: str) -> Iterator[Bar]:
    """Show how far `label` is, in `unit` out of `total` (None when unknown)."""
    if sys.stderr.isatty():
        with _rich_bar(label, total, unit) as bar:
            yield bar
    else:
        yield _Lines(label, total, unit)


class _Lines:
    def __init__(self, label: str, total: float | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0.0
        self.started = time.monotonic()
        self.next_line = self.started + FIRST_LINE_S
        print(f"{label}: started", file=sys.stderr, flush=True)

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.done += amount
        now = time.monotonic()
        if now < self.next_line:
            return
        self.next_line = now + LINE_EVERY_S
        of = f" of {self.total:,.0f} ({self.done / self.total:.0%})" if self.total else ""
        tail = f", {note}" if note else ""
        print(f"{self.label}: {self.done:,.0f}{of} {self.unit}, {now - self.started:.0f} s{tail}", file=sys.stderr, flush=True)


@contextmanager
def _rich_bar(label: str, total: float | None, unit: str) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + " {task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=total, note="")

        class RichBar:
            def advance(self, amount: float = 1, *, note: str = "") -> None:
                bars.update(task, advance=amount, note=note)

        yield RichBar()
