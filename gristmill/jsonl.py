"""JSON lines written by people and other programs: read one object a line, with file and line in every complaint."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, object) for each line of a JSON-lines file or its `.gz`; blank lines are skipped."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path.name}:{number}", _object(line, f"{path.name}:{number}")
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; correct the path, or build the stage that writes it") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name}: damaged gzip after line {number} ({error}); fetch the file again") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{where}: expected a JSON object on one line in UTF-8, found {line[:60]!r} ({error})"
        ) from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected a JSON object, found a {type(row).__name__}")
    return row
