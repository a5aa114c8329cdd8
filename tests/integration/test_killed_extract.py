"""A worker pool killed in the middle of its shards, then started again: nothing lost, nothing doubled, same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gristmill.crawl.config import IngestConfig
from gristmill.crawl.ingest import run_ingest

pytestmark = pytest.mark.integration

FILES = 8
PROGRAM = """
import sys
from pathlib import Path
from gristmill.text.config import ExtractConfig
from gristmill.text.extract import run_extract
if __name__ == "__main__":
    run_extract(Path(sys.argv[1]), Path(sys.argv[2]), ExtractConfig(mode="fast"), workers=int(sys.argv[3]))
"""


def page(number: int) -> bytes:
    sentence = f"The miller carries sack {number} to the mill, and the wheel turns slowly in the cold river. "
    return f"<html><body><main>{''.join(f'<p>{sentence * 4}</p>' for _ in range(6))}</main></body></html>".encode()


def response(url: str, body: bytes) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-05-01T00:00:00Z\r\n"
    head += f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    return head.encode() + http + b"\r\n\r\n"


def test_a_killed_extract_goes_on_and_writes_the_same_bytes(tmp_path: Path):
    crawl, warcs = tmp_path / "crawl", tmp_path / "warcs"
    crawl.mkdir()
    warcs.mkdir()
    for file in range(FILES):
        pages = (response(f"http://example.org/{file}/{i}", page(1000 * file + i)) for i in range(200))
        (crawl / f"{file}.warc").write_bytes(b"".join(pages))
    source = {"kind": "warc", "name": "web", "paths": [f"{crawl}/*.warc"]}
    run_ingest(warcs, IngestConfig.model_validate({"sources": [source]}))
    program = tmp_path / "extract.py"
    program.write_text(PROGRAM)

    def start(out: str, workers: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(program), str(warcs), str(tmp_path / out), str(workers)]
        return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)

    killed = start("killed", 2)
    commits = tmp_path / "killed" / ".done"
    deadline = time.monotonic() + 120
    while not (commits.is_dir() and any(path.suffix == "" for path in commits.glob("0000*"))):
        assert killed.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    done = sum(path.suffix == "" for path in commits.glob("0000*"))
    assert 0 < done < FILES, "killed too late to show anything"

    assert start("killed", 2).wait() == 0
    assert start("whole", 1).wait() == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.parquet")}
    assert len(whole) == FILES + 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "killed").glob("*.parquet")} == whole
