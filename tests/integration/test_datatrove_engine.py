"""A stage's shards as ranks of datatrove's local executor: the same files and the same resume as with local workers."""

from pathlib import Path
from typing import Any

import pytest
from datatrove.executor import LocalPipelineExecutor

from gristmill.crawl.config import IngestConfig
from gristmill.crawl.ingest import run_ingest
from gristmill.datatrove_engine import DatatroveEngine
from gristmill.shards import map_shards
from gristmill.text.config import ExtractConfig
from gristmill.text.extract import run_extract

pytestmark = pytest.mark.integration


def local(logs: Path, workers: int) -> Any:
    def executor(pipeline: list[Any], tasks: int) -> LocalPipelineExecutor:
        return LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=str(logs))

    return executor


def double(shard: tuple[int, Path]) -> dict[str, int]:
    number, out = shard
    with (out / "calls.txt").open("a") as calls:
        calls.write(f"{number}\n")
    if number == 3 and not (out / "repaired").exists():
        raise OSError("the node's disk is full")
    return {"doubled": 2 * number}


def test_each_rank_takes_its_shards_and_a_second_call_those_that_failed(tmp_path: Path):
    engine = DatatroveEngine(local(tmp_path / "logs", 1), tasks=2)
    shards = [(f"{number:05d}", (number, tmp_path)) for number in range(5)]
    with pytest.raises(OSError, match="disk is full"):
        map_shards(double, shards, tmp_path, workers=engine, label="test")
    (tmp_path / "repaired").touch()
    found = map_shards(double, shards, tmp_path, workers=engine, label="test")
    assert [summary["doubled"] for summary in found] == [0, 2, 4, 6, 8]
    calls = (tmp_path / "calls.txt").read_text().split()
    assert calls == ["0", "2", "4", "1", "3", "3"], "rank 0, rank 1 until it failed, then the missing one alone"


def test_an_executor_that_only_submits_its_job_is_no_success(tmp_path: Path):
    class Submitted:
        skip_completed = True

        def run(self) -> None:
            assert not self.skip_completed

    engine = DatatroveEngine(lambda pipeline, tasks: Submitted())
    with pytest.raises(RuntimeError, match="2 of 2 shards are not done"):
        map_shards(double, [("a", (1, tmp_path)), ("b", (2, tmp_path))], tmp_path, workers=engine, label="test")


def test_extract_on_an_executor_writes_what_local_workers_write(tmp_path: Path):
    crawl, warcs = tmp_path / "crawl", tmp_path / "warcs"
    crawl.mkdir()
    for name in ("a", "b", "c"):
        (crawl / f"{name}.warc").write_bytes(b"".join(response(f"http://{name}.example/{n}", n) for n in range(3)))
    source = {"kind": "warc", "name": "web", "paths": [f"{crawl}/*.warc"]}
    run_ingest(warcs, IngestConfig.model_validate({"sources": [source]}))
    config = ExtractConfig(mode="fast")
    run_extract(warcs, tmp_path / "local", config)
    run_extract(warcs, tmp_path / "ranks", config, workers=DatatroveEngine(local(tmp_path / "logs", 2)))
    expected, found = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.parquet")} for name in ("local", "ranks")
    )
    assert len(expected) == 4
    assert found == expected


def response(url: str, number: int) -> bytes:
    text = f"<p>The miller carries sack {number} to the mill, and the wheel turns slowly in the cold river.</p>" * 9
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + f"<html><body>{text}</body></html>".encode()
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-05-01T00:00:00Z\r\n"
    head += f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    return head.encode() + http + b"\r\n\r\n"
