"""Whether a gzip file of many members arrived sound, and where it can be cut so that nothing half is left."""

from dataclasses import dataclass
from pathlib import Path

from gristmill.crawl.members import GZIP_MAGIC, Damage, members


@dataclass(frozen=True)
class GzipFacts:
    """end: offset after the last whole member, 0 without one. breaks_off: whether a part of another one follows.
    is_damaged: whether anything before that is no member whose check sum fits."""

    end: int
    breaks_off: bool
    is_damaged: bool


def gzip_facts(path: Path) -> GzipFacts | None:
    """Found by decoding the whole file; None for one that is not gzip."""
    end, failed_at, is_damaged = 0, None, False
    with path.open("rb") as file:
        if file.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            return None
        for member in members(file):
            if isinstance(member, Damage):
                is_damaged = True
                continue
            while member.read():
                pass
            if member.failure:
                failed_at = member.offset
                is_damaged |= member.failure == "corrupt"
            else:
                end = member.end
    return GzipFacts(end, path.stat().st_size > end, is_damaged or (failed_at is not None and failed_at < end))


def cut_after_last_whole_member(path: Path) -> int:
    """Shorten a gzip file to its whole members. Returns the bytes that are left; a plain file is left as it is."""
    facts = gzip_facts(path)
    if facts is None:
        return path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(facts.end)
    return facts.end
