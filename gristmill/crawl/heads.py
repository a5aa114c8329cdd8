"""The head of a WARC record or an HTTP message: a start line, then fields, up to a blank line.

Written here because fastwarc's parser raises OSError for a head with very many or very long fields, which a hostile
server can send. Bytes that are not UTF-8 become U+FFFD; a line without a colon is no field; nothing raises.
"""

import re
from dataclasses import dataclass

HEAD_BYTES = 1 << 16

# LF and CR CR LF stand for CR LF in archives of careless writers; the bound keeps a run of CRs from costing its square
_BLANK_LINE = re.compile(rb"\n\r{0,8}\n")
_STATUS_LINE = re.compile(r"HTTP/[0-9](?:\.[0-9])?[ \t]+([0-9]{3})(?![0-9])")


@dataclass(frozen=True)
class Head:
    """start_line: without its line end. fields: values by lower-cased name, in order. size: bytes up to the content.

    ended: whether a blank line was found; without one, all that was given belongs to the head.
    """

    start_line: str
    fields: dict[str, list[str]]
    size: int
    ended: bool

    @classmethod
    def parse(cls, opening: bytes | bytearray) -> "Head":
        """The head at the beginning of `opening`, of which HEAD_BYTES are looked at."""
        blank = _BLANK_LINE.search(opening, 0, HEAD_BYTES)
        size = blank.end() if blank else min(len(opening), HEAD_BYTES)
        start_line, *lines = bytes(opening[:size]).decode("utf-8", "replace").split("\n")
        fields: dict[str, list[str]] = {}
        values: list[str] = []
        for line in lines:
            if line[:1] in (" ", "\t") and values:
                values[-1] = f"{values[-1]} {line.strip()}"
                continue
            name, colon, value = line.partition(":")
            if colon:
                values = fields.setdefault(name.strip().lower(), [])
                values.append(value.strip())
        return cls(start_line.strip(), fields, size, blank is not None)

    def get(self, name: str) -> str | None:
        """The first value of a field; `name` in lower case."""
        values = self.fields.get(name)
        return values[0] if values else None

    def listed(self, name: str) -> list[str]:
        """The members of a field that is a list, in order, lower-cased: `a, B` and two fields `a` and `b` are one."""
        members = (member.strip().lower() for value in self.fields.get(name, []) for member in value.split(","))
        return [member for member in members if member]

    @property
    def status(self) -> int | None:
        """Of an HTTP response; None when the start line is no status line."""
        found = _STATUS_LINE.match(self.start_line)
        return int(found[1]) if found else None
