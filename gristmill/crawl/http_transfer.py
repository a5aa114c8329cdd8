"""Fetching over HTTP(S) with httpx: ranges, resuming, and every statement of the server compared with what arrived.

A download asks for `Range: bytes=0-`, so that an honest server states the length twice (Content-Length and
Content-Range). What is missing is asked for under `If-Range`, so that no file is put together from two versions. What
arrived is checked by the digest that the server states, or else, where TLS did not guard it, by the check sums in a
gzip file.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from gristmill.addresses import PrivateAddress
from gristmill.crawl import http_facts
from gristmill.crawl.http_facts import ContentRange
from gristmill.crawl.partial_file import PartialFile
from gristmill.crawl.transfer import Query, Refused, RemoteFacts, TryAgain
from gristmill.crawl.whole_members import gzip_facts
from gristmill.guarded_http import GuardedTransport

# 403: how Common Crawl answers too many requests (status.commoncrawl.org), besides 429 and 503
PASSING = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
TOO_MANY = frozenset({403, 429, 503})
MIN_BYTES_PER_WINDOW = 1 << 14
MAX_SKIPPED_BYTES = 1 << 26


class HttpTransfer:
    """`stopped` is asked between pieces; a timeout counts from byte to byte, and MIN_BYTES_PER_WINDOW must arrive in
    each, so that a server which trickles does not hold a connection for ever."""

    def __init__(
        self,
        *,
        connections: int,
        timeout_s: float,
        user_agent: str,
        stopped: Callable[[], bool],
        arrived: Callable[[int], None],
    ) -> None:
        self._timeout_s, self._stopped, self._arrived = timeout_s, stopped, arrived
        self._client = httpx.Client(
            follow_redirects=True,
            # a `.warc.gz` must arrive as the gzip file it is
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(timeout_s, pool=None),
            transport=GuardedTransport(
                limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
            ),
        )

    def close(self) -> None:
        self._client.close()

    def facts(self, url: str) -> RemoteFacts:
        # one byte, not HEAD, which signed addresses refuse
        with self._answer(url, {"Range": "bytes=0-0"}) as answer:
            if answer.status_code == 206 or answer.status_code == 416:
                size = ContentRange.parse(answer.headers).total
            else:
                size = http_facts.content_length(answer.headers)
            return RemoteFacts(size, http_facts.version(answer.headers))

    def get(self, url: str, *, params: Query, max_bytes: int) -> bytes:
        asked = str(httpx.URL(url, params=dict(params)) if params else url)
        with self._answer(asked, {} if params else {"Range": "bytes=0-"}) as answer:
            total = ContentRange.parse(answer.headers).total
            content = bytearray()
            if answer.status_code != 416:  # an empty file
                for piece in self._pieces(answer):
                    content += piece
                    if len(content) > max_bytes:
                        raise Refused(f"{url} is longer than {max_bytes:,} bytes, which no listing is", status=200)
        if total is not None and total != len(content):
            raise TryAgain(f"{len(content):,} of {total:,} bytes arrived")
        return bytes(content)

    def get_range(self, url: str, start: int, size: int) -> bytes:
        with self._answer(url, {"Range": f"bytes={start}-{start + size - 1}"}) as answer:
            if answer.status_code == 416:
                raise Refused(f"{url} ends before byte {start:,}", status=416)
            skip = start  # a server that ignores ranges sends all
            if answer.status_code == 200 and start > MAX_SKIPPED_BYTES:
                raise TryAgain("the range was ignored, and too much lies before it", most=3)
            if answer.status_code == 206:
                begins = ContentRange.parse(answer.headers).start
                if begins != start:
                    raise TryAgain(f"bytes from {begins} were sent, not from {start}")
                skip = 0
            content = bytearray()
            for piece in self._pieces(answer):
                content += piece[skip:]
                skip = max(skip - len(piece), 0)
                if len(content) >= size:
                    return bytes(content[:size])
        raise TryAgain(f"{len(content):,} of {size:,} bytes arrived")

    def go_on(self, partial: PartialFile, *, first_bytes: int | None) -> None:
        have = partial.size
        if have and not _is_guarded(partial):
            partial.restart()  # the rest could be of another version of the file
            have = 0
        if have and have == _wanted(partial, first_bytes):
            return _check_whole(partial, first_bytes)
        fields = {"Range": f"bytes={have}-{first_bytes - 1 if first_bytes else ''}"}
        if have:
            fields["If-Range"] = partial.version or ""
        with self._answer(partial.notes["url"], fields) as answer:
            if answer.status_code == 416:  # nothing follows what is there, or the file is empty
                total = ContentRange.parse(answer.headers).total
                if total is None:
                    raise TryAgain("416, without the length of the file")
                _note_total(partial, total)
            else:
                _note_answer(partial, answer)
                self._write(partial, answer, first_bytes)
        return _check_whole(partial, first_bytes)

    def _write(self, partial: PartialFile, answer: httpx.Response, first_bytes: int | None) -> None:
        partial.part.parent.mkdir(parents=True, exist_ok=True)
        # not buffered: what has arrived must be there after a kill
        with partial.part.open("ab", buffering=0) as file:
            room = first_bytes - file.tell() if first_bytes else None
            for piece in self._pieces(answer):
                file.write(piece if room is None else piece[:room])
                if room is not None:
                    room -= len(piece)
                    if room <= 0:
                        return

    @contextmanager
    def _answer(self, url: str, fields: dict[str, str]) -> Iterator[httpx.Response]:
        """The answer to a GET, if it is 200, 206 or 416. What httpx raises, also while it is read, becomes TryAgain."""
        try:
            with self._client.stream("GET", url, headers=fields) as answer:
                status = answer.status_code
                if status not in (200, 206, 416):
                    said = f"{status} {answer.reason_phrase}".strip()
                    if status not in PASSING:
                        raise Refused(f"{url} answers {said}", status=status)
                    wait_s = http_facts.retry_after_s(answer.headers)
                    raise TryAgain(said, wait_s=wait_s, slow_down=status in TOO_MANY)
                yield answer
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects, PrivateAddress) as error:
            raise Refused(f"{url} cannot be fetched: {error}", status=400) from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TryAgain(f"{type(error).__name__}: {error}", answered=False) from error
        except httpx.HTTPError as error:
            raise TryAgain(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        began, arrived = time.monotonic(), 0
        for piece in answer.iter_raw():  # as they come: a larger piece would be lost with a broken connection
            yield piece
            self._arrived(len(piece))
            arrived += len(piece)
            if self._stopped():
                raise TryAgain("stopped", most=1)
            if time.monotonic() - began > self._timeout_s:
                if arrived < MIN_BYTES_PER_WINDOW:
                    raise TryAgain(f"{arrived} bytes arrived in {self._timeout_s:.0f} s")
                began, arrived = time.monotonic(), 0


def _is_guarded(partial: PartialFile) -> bool:
    return http_facts.can_guard_a_range(partial.version)


def _note_answer(partial: PartialFile, answer: httpx.Response) -> None:
    """Compare an answer with what is known of the file, and write down what is new. Empties a part it does not fit."""
    headers = answer.headers
    is_whole = answer.status_code == 200
    if is_whole:
        if partial.size:
            partial.restart()  # the range was ignored, or the file has changed
        total = http_facts.content_length(headers)
    else:
        said = ContentRange.parse(headers)
        if said.start != partial.size:
            raise TryAgain(f"bytes from {said.start} were sent, not from {partial.size}")
        total = said.total
    version = http_facts.version(headers)
    if partial.version and version != partial.version:
        partial.restart()
        raise TryAgain("the file changed while it was fetched")
    _note_total(partial, total)
    partial.note(
        version=version,
        digest=http_facts.whole_file_digest(headers, is_whole=is_whole),
        is_vouched_for=not is_whole and total is not None and answer.url.scheme == "https",
    )


def _note_total(partial: PartialFile, total: int | None) -> None:
    known = partial.notes.get("total")
    if None not in (known, total) and known != total:
        partial.restart()
        raise TryAgain(f"the file is said to have {known:,} bytes and then {total:,}")
    partial.note(total=total)


def _wanted(partial: PartialFile, first_bytes: int | None) -> int | None:
    """Bytes that the part has when nothing is missing; None when the server did not say how long the file is."""
    total = partial.notes.get("total")
    return min(limit for limit in (total, first_bytes) if limit is not None) if total is not None else None


def _check_whole(partial: PartialFile, first_bytes: int | None) -> None:
    have, wanted, total = partial.size, _wanted(partial, first_bytes), partial.notes.get("total")
    if wanted is not None and have < wanted:
        raise TryAgain(f"{have:,} of {wanted:,} bytes arrived")
    if wanted is not None and have > wanted:
        partial.restart()
        raise TryAgain(f"{have:,} bytes arrived for {wanted:,}")
    is_beginning = first_bytes is not None and have == first_bytes and have != total
    if partial.notes.get("digest") and not is_beginning:
        if partial.digest_differs():
            partial.restart()
            raise TryAgain("the digest of what arrived is not the stated one", most=3, wrong_content=True)
        return
    if partial.notes.get("is_vouched_for"):
        return  # TLS guards every byte and the length was stated twice; decoding a gigabyte takes 13 s of CPU
    facts = gzip_facts(partial.part) if have else None
    if facts and (facts.is_damaged or (facts.breaks_off and not is_beginning)):
        # nothing but the content shows it; a file that is the same again is like that, and reading it will tell
        digest = partial.digest()
        if partial.notes.get("unsound") != digest:
            partial.restart()
            partial.note(unsound=digest)
            raise TryAgain(f"the gzip file {'is damaged' if facts.is_damaged else f'breaks off after {have:,} bytes'}")
