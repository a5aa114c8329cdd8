"""Polite fetching: few connections, patience with a server that is tired, and nothing half taken for whole.

A failed attempt is repeated after a wait that doubles from time to time and is spread at random, or after what
`Retry-After` asks for; 403, 429 and 503 make all requests to that host wait. A broken download goes on where it broke
off, also in a later run. Common Crawl's own advice is the measure: at most one retry a second, and many of them
(status.commoncrawl.org).
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from gristmill.crawl.filesystem_transfer import FilesystemTransfer
from gristmill.crawl.http_transfer import HttpTransfer
from gristmill.crawl.partial_file import PartialFile
from gristmill.crawl.transfer import Query, RemoteFacts, Transfer, TryAgain, WrongContent
from gristmill.errors import SourceUnavailable

T = TypeVar("T")
R = TypeVar("R")
LISTING_BYTES = 1 << 28
# a host that never answered is rather not there than tired; `plan` without a network must say so soon
TRIES_WHERE_NOBODY_ANSWERS = 3
PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True)
class Politeness:
    """connections: at the same time. tries: attempts in a row that fail, before it is given up. first_wait_s: before
    the second, doubled from there to longest_wait_s. pause_s: between the starts of two requests to one host.
    longest_retry_after_s: a server that asks for more is not waited for. timeout_s: without a byte."""

    connections: int = 4
    tries: int = 12
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    pause_s: float = 0.0
    longest_retry_after_s: float = 900.0
    timeout_s: float = 60.0


class Fetcher:
    """Fetches over http(s) and whatever fsspec reaches; may be used from several threads. Close it, or use `with`.

    All methods raise SourceUnavailable when the last attempt has failed, and Refused, which is one, for an answer
    that another attempt would not change, such as 404.
    """

    def __init__(
        self, politeness: Politeness | None = None, *, arrived: Callable[[int], None] = lambda _: None
    ) -> None:
        """arrived: told of each piece, in bytes, from any thread."""
        self.politeness = politeness or Politeness()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._not_before: dict[str, float] = {}
        self._answered: set[str] = set()
        self._http = HttpTransfer(
            connections=self.politeness.connections,
            timeout_s=self.politeness.timeout_s,
            user_agent=f"gristmill/{metadata.version('gristmill')}",
            stopped=self._stop.is_set,
            arrived=arrived,
        )
        self._files = FilesystemTransfer(stopped=self._stop.is_set, arrived=arrived)

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stop.set()
        self._http.close()

    def facts(self, url: str) -> RemoteFacts:
        """Length and version of a file, without fetching it."""
        return self._persist(url, lambda transfer: transfer.facts(url))

    def get(
        self,
        url: str,
        parse: Callable[[bytes], R],
        *,
        params: Query | None = None,
        max_bytes: int = LISTING_BYTES,
    ) -> R:
        """What `parse` makes of a listing or an answer. Where it raises ValueError, another is asked for three times,
        and then WrongContent is raised."""

        def attempt(transfer: Transfer) -> R:
            content = transfer.get(url, params=params or {}, max_bytes=max_bytes)
            try:
                return parse(content)
            except ValueError as error:
                raise TryAgain(str(error), most=3, wrong_content=True) from error

        return self._persist(url, attempt)

    def get_range(
        self, url: str, start: int, size: int, *, fault_of: Callable[[bytes], str | None] = lambda _: None
    ) -> bytes:
        """`size` bytes from `start`. fault_of: says what is wrong with them; then they are asked for three times, and
        WrongContent is raised."""

        def attempt(transfer: Transfer) -> bytes:
            content = transfer.get_range(url, start, size)
            fault = fault_of(content)
            if fault:
                raise TryAgain(f"bytes {start}-{start + size - 1}: {fault}", most=3, wrong_content=True)
            return content

        return self._persist(url, attempt)

    def download(
        self,
        url: str,
        path: Path,
        *,
        first_bytes: int | None = None,
        finish: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Bring a file, or its first bytes, to `path`, which exists from then on if and only if it is whole.

        What an earlier attempt left beside `path` is gone on with. finish: changes or refuses the file before it gets
        its name. Raises WrongContent when the digest that the
        server states is not that of what it sends.
        """
        partial = PartialFile(path, url)
        most_bytes = partial.size

        def attempt(transfer: Transfer) -> None:
            nonlocal most_bytes
            try:
                transfer.go_on(partial, first_bytes=first_bytes)
            except TryAgain as fault:
                fault.progressed |= partial.size >= most_bytes + PROGRESS_BYTES
                raise
            finally:
                most_bytes = max(most_bytes, partial.size)

        self._persist(url, attempt)
        partial.commit(finish)

    def in_order(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Do `work` on all items, as many at a time as there may be connections. Yields each with its result, in
        their order; the first error ends it all, and this Fetcher's use."""
        pool = ThreadPoolExecutor(self.politeness.connections, thread_name_prefix="fetch")
        futures = [(item, pool.submit(work, item)) for item in items]
        try:
            for item, future in futures:
                yield item, future.result()
        except BaseException:
            self._stop.set()  # those that wait, or read, end at once
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _persist(self, url: str, attempt: Callable[[Transfer], T]) -> T:
        host = urlsplit(url).netloc
        transfer = self._http if url.startswith(("http://", "https://")) else self._files
        failures = 0
        while True:
            self._await_turn(host)
            try:
                result = attempt(transfer)
            except TryAgain as fault:
                failures = 1 if fault.progressed else failures + 1
                if fault.answered:
                    self._answered.add(host)
                self._wait_after(fault, failures, url, host)
            else:
                self._answered.add(host)
                return result

    def _wait_after(self, fault: TryAgain, failures: int, url: str, host: str) -> None:
        """Wait as long as befits this failure. Raises SourceUnavailable when it was the last."""
        polite = self.politeness
        tries = polite.tries if host in self._answered else min(polite.tries, TRIES_WHERE_NOBODY_ANSWERS)
        times = "once" if failures == 1 else f"{failures} times"
        if fault.wrong_content and failures >= min(tries, fault.most or tries):
            raise WrongContent(f"{url} was fetched {times} and is not what it should be: {fault}") from fault
        if self._stop.is_set() or failures >= min(tries, fault.most or tries):
            advice = "try again later; what has arrived is kept" if fault.answered else "check address and network"
            raise SourceUnavailable(f"source not reachable: {url} failed {times} ({fault}); {advice}") from fault
        if fault.wait_s is not None and fault.wait_s > polite.longest_retry_after_s:
            raise SourceUnavailable(
                f"source not reachable: {url} answers {fault} and asks to wait {fault.wait_s:,.0f} s; "
                "try again after that; what has arrived is kept"
            ) from fault
        doubled = min(polite.longest_wait_s, polite.first_wait_s * 2 ** (failures - 1))
        seconds = random.uniform(0.5, 1.0) * doubled if fault.wait_s is None else fault.wait_s
        if fault.slow_down:
            with self._lock:
                self._not_before[host] = max(self._not_before.get(host, 0.0), time.monotonic() + seconds)
        self._sleep(seconds)

    def _await_turn(self, host: str) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(self._not_before.get(host, now), now)
            if self.politeness.pause_s:
                self._not_before[host] = turn + self.politeness.pause_s
        if turn > now:
            self._sleep(turn - now)

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
