"""Files read piece by piece, decompressed as their names say: `.gz`, `.bz2`, `.xz`, `.zst`, or as they are."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PIECE_BYTES = 1 << 16


class BrokenFile(ValueError):
    """A compressed file that is damaged or breaks off."""


def pieces(path: Path) -> Iterator[bytes]:
    """The decompressed content, at most PIECE_BYTES at a time. Raises BrokenFile where it cannot go on."""
    with _damage_named(path), _open(path) as file:
        # read1, not read: of what came before damage, nothing is lost in a buffer
        while piece := file.read1(PIECE_BYTES):
            yield piece


def lines(path: Path, *, max_bytes: int) -> Iterator[bytes | None]:
    """The lines without their line ends; None for one of more than `max_bytes`. Raises BrokenFile."""
    rest, too_long = bytearray(), False
    for piece in pieces(path):
        *ended, last = piece.split(b"\n")
        for line in ended:
            whole, rest = (bytes(rest) + line if rest else line), bytearray()
            yield None if too_long or len(whole) > max_bytes else whole.rstrip(b"\r")
            too_long = False
        rest += last
        if len(rest) > max_bytes:
            rest, too_long = bytearray(), True
    if rest or too_long:
        yield None if too_long else bytes(rest).rstrip(b"\r")


def _open(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".bz2":
        return bz2.open(path, "rb")
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    if path.suffix == ".zst":
        import pyarrow as pa

        return pa.input_stream(str(path), compression="zstd")
    return path.open("rb")


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise BrokenFile(f"{path.name}: {error}") from error
    except OSError as error:
        if error.errno is not None:  # the disk failed, not the content
            raise
        raise BrokenFile(f"{path.name}: {error}") from error
