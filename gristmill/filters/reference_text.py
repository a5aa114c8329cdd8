"""Reference texts for a language's profile, from files of several kinds."""

import gzip
import re
from pathlib import Path

from gristmill.filters.profile import Reference
from gristmill.jsonl import read_jsonl

_BLANK_LINES = re.compile(r"\n\s*\n")
KINDS = (".jsonl", ".jsonl.gz", ".parquet", ".txt", ".txt.gz")


def read_reference(path: Path, *, key: str = "text", only: dict[str, str] | None = None) -> Reference:
    """The texts of a file: of JSON lines and Parquet the rows' `key`, of plain text what blank lines part.

    only: leave out rows in which one of these keys has another value than this one. Raises ValueError for another kind
    of file, and for a row without the key.
    """
    if not path.name.endswith(KINDS):
        raise ValueError(f"{path.name}: expected a file that ends with {', '.join(KINDS)}")
    shown = path.name if not only else f"{path.name} ({', '.join(f'{name}={value}' for name, value in only.items())})"
    if path.name.endswith((".txt", ".txt.gz")):
        return Reference(shown, [part.strip() for part in _BLANK_LINES.split(_plain(path)) if part.strip()])
    texts = []
    for place, row in _rows(path):
        if any(str(row.get(name, value)) != value for name, value in (only or {}).items()):
            continue
        if not isinstance(row.get(key), str):
            raise ValueError(f"{place}: no text under the key {key!r}; it has {', '.join(row)}: name one with --key")
        texts.append(row[key])
    return Reference(shown, texts)


def _rows(path: Path):
    if path.name.endswith(".parquet"):
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                batches = (row for batch in file.iter_batches(batch_size=512) for row in batch.to_pylist())
                yield from ((f"{path.name}, row {number}", row) for number, row in enumerate(batches, start=1))
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}; correct the path") from None
        return
    yield from read_jsonl(path)


def _plain(path: Path) -> str:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; correct the path") from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name}: expected text in UTF-8 ({error}); convert the file") from error
