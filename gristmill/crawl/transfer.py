"""What fetching one file means, over whatever protocol: four questions, each a single attempt, and how one can fail.

`http_transfer` and `filesystem_transfer` answer them; `fetch` asks again where that may help.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gristmill.crawl.partial_file import PartialFile
from gristmill.errors import NotHere, SourceUnavailable

# name → value, or several values under one name
Query = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class RemoteFacts:
    """size: bytes, None when the server does not say. version: changes when the file does, None when unknown."""

    size: int | None
    version: str | None


class Transfer(Protocol):
    """One attempt each. Raises TryAgain when another may do better, Refused when none will."""

    def facts(self, url: str) -> RemoteFacts: ...

    def get(self, url: str, *, params: Query, max_bytes: int) -> bytes:
        """The whole file; an answer of more than `max_bytes` is refused."""
        ...

    def get_range(self, url: str, start: int, size: int) -> bytes:
        """`size` bytes from `start`, neither more nor fewer."""
        ...

    def go_on(self, partial: PartialFile, *, first_bytes: int | None) -> None:
        """Write what is missing of the file, or of its first bytes. Returning means that all is there."""
        ...


class TryAgain(Exception):
    """This attempt failed.

    wait_s: what the server asked for. slow_down: all requests to this host are too many, not only this one.
    answered: somebody was there. progressed: far enough that the count of failures begins anew. most: attempts after
    which another will not help, where that is fewer than usual. wrong_content: the transfer went well, but not this.
    """

    def __init__(
        self,
        what: str,
        *,
        wait_s: float | None = None,
        slow_down: bool = False,
        answered: bool = True,
        progressed: bool = False,
        most: int | None = None,
        wrong_content: bool = False,
    ) -> None:
        super().__init__(what)
        self.wait_s, self.slow_down, self.answered = wait_s, slow_down, answered
        self.progressed, self.most, self.wrong_content = progressed, most, wrong_content


class Refused(NotHere):
    """An answer that will stay the same. status: of HTTP; 404 for a file that is not there, whatever the protocol."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class WrongContent(SourceUnavailable):
    """The server answers, again and again, with something other than what was asked for."""
