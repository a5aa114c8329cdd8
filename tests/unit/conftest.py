"""WARC records and artifacts of documents for tests of the data stages."""

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard

SHARED_DATA = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(autouse=True)
def loopback_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of tests listen there; test_addresses.py asks without it."""
    monkeypatch.setenv("GRISTMILL_PRIVATE_NETWORKS", "127.0.0.1")


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data")
    return SHARED_DATA.resolve()


@pytest.fixture
def record() -> Callable[..., bytes]:
    """record(url, body, gzip=True, …): one WARC response record, written by warcio and not by the code under test."""
    return _warc_record


@pytest.fixture
def write_documents(tmp_path: Path) -> Callable[..., Path]:
    """write_documents(name, rows, shards=1, more={}): a folder of documents. A row needs `text` and no more.

    more: columns that stages added, name → type.
    """

    def write(
        name: str, rows: list[dict[str, Any]], *, shards: int = 1, more: Mapping[str, pa.DataType] | None = None
    ) -> Path:
        schema = DOCUMENT_SCHEMA.append(pa.field("quality", pa.float64()))
        schema = pa.schema([*schema, *(pa.field(*column) for column in (more or {}).items())])
        documents = [_document(number, row) for number, row in enumerate(rows)]
        for shard in range(shards):
            write_shard(tmp_path / name / f"part-{shard:05d}.parquet", documents[shard::shards], schema=schema)
        return tmp_path / name

    return write


def _document(number: int, row: dict[str, Any]) -> dict[str, Any]:
    url = row.get("url", f"https://example.org/{number}")
    return {
        "doc_id": hashlib.sha256(url.encode()).hexdigest()[:16],
        "url": url,
        "date": "2026-01-01T00:00:00Z",
        "source": "web",
        "license": "CC0",
        "warc_file": "a.warc.gz",
        "warc_offset": number,
        "language": "en",
        "language_score": 0.9,
        "quality": 0.5,
        **row,
    }


def _warc_record(
    url: str, body: bytes, *, gzip: bool = True, status: str = "200 OK", content_type: str = "text/html", **headers: str
) -> bytes:
    """headers: of HTTP, with `_` for `-`."""
    buffer = io.BytesIO()
    writer = WARCWriter(buffer, gzip=gzip)
    fields = [("Content-Type", content_type), *((name.replace("_", "-"), value) for name, value in headers.items())]
    http = StatusAndHeaders(status, fields, protocol="HTTP/1.1")
    date = {"WARC-Date": "2024-05-01T00:00:00Z"}
    writer.write_record(
        writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=http, warc_headers_dict=date)
    )
    return buffer.getvalue()
