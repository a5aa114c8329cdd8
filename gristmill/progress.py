"""Progress of long work: a bar in a terminal, plain lines otherwise; always on stderr.

The first line appears at once, later ones every LINE_EVERY_S, so that a log of a night stays readable. A program
started by another one (GRISTMILL_PROGRESS=json) sends its progress as JSON lines, which `relay` shows in its place.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TextIO

FIRST_LINE_S = 4.0
LINE_EVERY_S = 15.0


class Bar(Protocol):
    def advance(self, amount: float = 1, *, note: str = "") -> None: ...


@dataclass(frozen=True)
class Moment:
    """How far a piece of work is."""

    label: str
    done: float
    total: float | None
    unit: str
    note: str


@contextmanager
def watched(see: Callable[[Moment], None]) -> Iterator[None]:
    """`see` is called at every step of the progress inside the block; it must return at once."""
    token = _watcher.set(see)
    try:
        yield
    finally:
        _watcher.reset(token)


_watcher: ContextVar[Callable[[Moment], None] | None] = ContextVar("watcher", default=None)


@contextmanager
def progress(label: str, *, total: float | None, unit: str, done: float = 0) -> Iterator[Bar]:
    """Show how far `label` is, in `unit` out of `total` (None when unknown), and when it will end at the speed so far.

    done: what was there before; it took no time.
    """
    see = _watcher.get()
    with _shown(label, total, unit, done) as bar:
        yield _Watched(bar, see, Moment(label, done, total, unit, "")) if see else bar


class _Watched:
    def __init__(self, bar: Bar, see: Callable[[Moment], None], start: Moment) -> None:
        self.bar, self.see, self.start = bar, see, start
        self.done = start.done

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.done += amount
        self.see(Moment(self.start.label, self.done, self.start.total, self.start.unit, note))
        self.bar.advance(amount, note=note)


@contextmanager
def _shown(label: str, total: float | None, unit: str, done: float) -> Iterator[Bar]:
    among = _among.get()
    if os.environ.get("GRISTMILL_PROGRESS") == "json":
        yield _Messages(label, total, unit, done)
    elif among:
        yield _Lines(f"{label}[{among}]", total, unit, done)
    elif sys.stderr.isatty():
        with _rich_bar(label, total, unit, done) as bar:
            yield bar
    else:
        yield _Lines(label, total, unit, done)


@contextmanager
def one_of_several(name: str) -> Iterator[None]:
    """Work inside the block goes on beside other work of the same label: progress is lines that say whose they are."""
    token = _among.set(name)
    try:
        yield
    finally:
        _among.reset(token)


_among: ContextVar[str | None] = ContextVar("among", default=None)


def relay(lines: Iterable[str], log: TextIO) -> list[str]:
    """Show another program's progress until its output ends; write all its other lines to `log`.

    Returns the last lines that were no progress: what it said before it ended.
    """
    said: list[str] = []
    label, done = None, 0.0
    bar: Bar | None = None
    with ExitStack() as shown:
        for line in lines:
            message = _message(line)
            if message is None:
                log.write(line)
                log.flush()
                said = [*said[-49:], line.rstrip()]
                continue
            if bar is None or message["progress"] != label:
                shown.close()  # a terminal shows one bar at a time
                label, done = message["progress"], message["done"]
                told = {"total": message["total"], "unit": message["unit"], "done": done}
                bar = shown.enter_context(progress(label, **told))
            bar.advance(message["done"] - done, note=message["note"])
            done = message["done"]
    return said


def _message(line: str) -> dict | None:
    if not line.startswith('{"progress"'):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


class _Messages:
    def __init__(self, label: str, total: float | None, unit: str, done: float) -> None:
        self.fixed = {"progress": label, "total": total, "unit": unit}
        self.done = done
        self.next_line = 0.0
        self.advance(0)

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.done += amount
        now = time.monotonic()
        if now >= self.next_line:
            self.next_line = now + 0.5
            print(json.dumps({**self.fixed, "done": self.done, "note": note}), file=sys.stderr, flush=True)


class _Lines:
    def __init__(self, label: str, total: float | None, unit: str, done: float) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self.before = done
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
        print(
            f"{self.label}: {self.done:,.0f}{of} {self.unit}, {now - self.started:.0f} s{self._left(now)}{tail}",
            file=sys.stderr,
            flush=True,
        )

    def _left(self, now: float) -> str:
        """How much longer it takes at the speed so far."""
        if not self.total or self.done <= self.before:
            return ""
        seconds = (self.total - self.done) * (now - self.started) / (self.done - self.before)
        return f", {seconds:,.0f} s left" if seconds < 600 else f", {seconds / 60:,.0f} min left"


@contextmanager
def _rich_bar(label: str, total: float | None, unit: str, done: float) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

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
        bars.update(task, completed=done)

        class RichBar:
            def advance(self, amount: float = 1, *, note: str = "") -> None:
                bars.update(task, advance=amount, note=note)

        yield RichBar()
