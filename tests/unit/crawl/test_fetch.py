import gzip
import json
import random
import socket
import threading
import time

import fsspec
import httpx
import pytest
from faulty_server import FAULTS, FaultyServer

from gristmill.crawl.fetch import Fetcher, Politeness
from gristmill.crawl.transfer import Refused, WrongContent
from gristmill.errors import SourceUnavailable

CONTENT = random.Random(0).randbytes(700_000)
QUICK = Politeness(tries=5, timeout_s=0.3)


@pytest.fixture
def fetcher(waits):
    with Fetcher(QUICK) as fetcher:
        yield fetcher


def part_files(folder):
    return [path.name for path in folder.iterdir() if ".part" in path.name]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "corrupted"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_file_arrives_whole_whatever_the_server_does(server, fetcher, tmp_path, fault, times):
    server.files["file"] = CONTENT
    server.faults["file"] = [fault] * times
    fetcher.download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert part_files(tmp_path) == []


def test_faults_of_all_kinds_in_a_row_lose_and_double_nothing(server, waits, tmp_path):
    for seed in range(5):
        server.files["file"] = content = random.Random(seed).randbytes(200_000 + seed)
        faults = [fault for fault in FAULTS if fault not in ("corrupted", "slow")] * 2
        random.Random(seed).shuffle(faults)
        server.faults["file"] = faults
        with Fetcher(Politeness(tries=100)) as fetcher:
            fetcher.download(f"{server.url}/file", tmp_path / f"{seed}")
        assert (tmp_path / f"{seed}").read_bytes() == content


def test_a_broken_download_asks_only_for_what_is_missing_of_the_same_version(server, fetcher, tmp_path):
    server.files["file"] = CONTENT
    server.faults["file"] = ["dropped"]
    fetcher.download(f"{server.url}/file", tmp_path / "file")
    first, second = server.asked("file")
    assert first["range"] == "bytes=0-"
    assert second["range"] == "bytes=350000-"
    assert second["if-range"].startswith('"')


def test_a_file_that_changed_between_two_attempts_is_fetched_anew(server, fetcher, tmp_path, monkeypatch):
    server.files["file"] = CONTENT
    server.faults["file"] = ["dropped"]
    newer = CONTENT[::-1]
    monkeypatch.setattr(fetcher, "_sleep", lambda _: server.files.update(file=newer))
    fetcher.download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == newer


def test_a_later_run_goes_on_where_an_earlier_one_was_killed(server, waits, tmp_path):
    server.files["file"] = CONTENT
    server.faults["file"] = ["dropped"]
    with Fetcher(Politeness(tries=1)) as first, pytest.raises(SourceUnavailable, match="what has arrived is kept"):
        first.download(f"{server.url}/file", tmp_path / "file")
    assert not (tmp_path / "file").exists()
    with Fetcher(QUICK) as second:
        second.download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked("file")[-1]["range"] == "bytes=350000-"


def test_a_part_that_belongs_to_another_address_is_not_gone_on_with(server, fetcher, tmp_path):
    (tmp_path / "file.part").write_bytes(b"of another file")
    (tmp_path / "file.part.json").write_text(json.dumps({"url": "http://elsewhere/file", "version": '"1"'}))
    server.files["file"] = CONTENT
    fetcher.download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_digest_that_the_server_states_is_checked(server, fetcher, tmp_path):
    server.digests = True
    server.files["file"] = CONTENT
    server.faults["file"] = ["corrupted"]
    fetcher.download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    server.faults["other"] = ["corrupted"] * 3
    server.files["other"] = CONTENT
    with pytest.raises(WrongContent, match=r"3 times.*digest of what arrived"):
        fetcher.download(f"{server.url}/other", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_gzip_file_whose_end_is_missing_is_asked_for_once_more(server, fetcher, tmp_path):
    members = gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:3000])
    server.files["short.gz"] = members
    # sent whole with 200, its length understated: nothing but the content shows that the end is missing
    server.answers["file.gz"] = lambda _query: (200, server.files["short.gz"])
    server.faults["file.gz"] = ["short"]
    fetcher.download(f"{server.url}/file.gz", tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == members
    server.answers["cut.gz"] = lambda _query: (200, members[:-5])
    fetcher.download(f"{server.url}/cut.gz", tmp_path / "cut.gz")
    assert (tmp_path / "cut.gz").read_bytes() == members[:-5]
    assert len(server.asked("cut.gz")) == 2


@pytest.mark.parametrize("first_bytes", [None, 500_000])
def test_a_gzip_file_that_was_damaged_on_its_way_is_asked_for_once_more(server, fetcher, tmp_path, first_bytes):
    member = b"WARC/1.0\r\nContent-Length: 10000\r\n\r\n"
    content = b"".join(gzip.compress(member + CONTENT[at : at + 10_000]) for at in range(0, 700_000, 10_000))
    server.files["file.gz"] = content
    server.faults["file.gz"] = ["corrupted"]
    fetcher.download(f"{server.url}/file.gz", tmp_path / "file.gz", first_bytes=first_bytes)
    assert (tmp_path / "file.gz").read_bytes() == content[:first_bytes]
    broken = content[:200_000] + b"????" + content[200_004:]
    server.files["broken.gz"] = broken
    fetcher.download(f"{server.url}/broken.gz", tmp_path / "broken.gz", first_bytes=first_bytes)
    assert (tmp_path / "broken.gz").read_bytes() == broken[:first_bytes]
    assert len(server.asked("broken.gz")) == 2


@pytest.mark.parametrize(("scheme", "decoded"), [("https", 0), ("http", 1)])
def test_what_tls_guarded_is_not_decoded_to_be_checked(fetcher, tmp_path, monkeypatch, scheme, decoded):
    content, checked = gzip.compress(CONTENT), []
    monkeypatch.setattr("gristmill.crawl.http_transfer.gzip_facts", checked.append)

    def answer(_request):
        length = len(content)
        headers = {"Content-Range": f"bytes 0-{length - 1}/{length}", "ETag": '"1"'}
        return httpx.Response(206, headers=headers, stream=httpx.ByteStream(content))

    monkeypatch.setattr(fetcher._http, "_client", httpx.Client(transport=httpx.MockTransport(answer)))
    fetcher.download(f"{scheme}://example.org/file.gz", tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == content
    assert len(checked) == decoded


@pytest.mark.parametrize("fault", ["", "dropped", "range ignored", "503", "long", "short"])
def test_the_first_bytes_of_a_file_are_fetched_alone(server, fetcher, tmp_path, fault):
    server.files["file"] = CONTENT
    server.faults["file"] = [fault]
    fetcher.download(f"{server.url}/file", tmp_path / "file", first_bytes=100_000)
    assert (tmp_path / "file").read_bytes() == CONTENT[:100_000]
    assert server.asked("file")[0]["range"] == "bytes=0-99999"


def test_a_file_shorter_than_the_bytes_asked_for_is_taken_whole(server, fetcher, tmp_path):
    server.files |= {"file": CONTENT, "empty": b""}
    for name in ("file", "empty"):
        fetcher.download(f"{server.url}/{name}", tmp_path / name, first_bytes=10_000_000)
        assert (tmp_path / name).read_bytes() == server.files[name]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("corrupted", "slow")])
def test_a_range_is_exact_whatever_the_server_does(server, fetcher, fault):
    server.files["file"] = CONTENT
    server.faults["file"] = [fault, fault]
    assert fetcher.get_range(f"{server.url}/file", 1234, 5678) == CONTENT[1234 : 1234 + 5678]


def test_a_server_that_ignores_ranges_is_not_asked_for_all_that_lies_before(server, fetcher, monkeypatch):
    monkeypatch.setattr("gristmill.crawl.http_transfer.MAX_SKIPPED_BYTES", 100_000)
    server.files["file"] = CONTENT
    server.faults["file"] = ["range ignored"] * 10
    assert fetcher.get_range(f"{server.url}/file", 100_000, 50) == CONTENT[100_000:100_050]
    with pytest.raises(SourceUnavailable, match=r"3 times .the range was ignored, and too much lies before it"):
        fetcher.get_range(f"{server.url}/file", 100_001, 50)


def test_waits_double_and_are_spread(server, waits):
    server.files["file"] = b"x"
    server.faults["file"] = ["500"] * 5
    with Fetcher(Politeness(tries=6, first_wait_s=1, longest_wait_s=8)) as fetcher:
        fetcher.get(f"{server.url}/file", bytes)
    for waited, full in zip(waits, [1, 2, 4, 8, 8], strict=True):
        assert full / 2 <= waited <= full


def test_retry_after_is_honoured(server, waits, fetcher):
    server.files["file"] = b"x"
    server.faults["file"] = ["429"]
    assert fetcher.get(f"{server.url}/file", bytes) == b"x"
    assert 7.0 in waits


def test_a_longer_retry_after_than_anybody_waits_for_ends_it(server, waits):
    server.faults["file"] = ["429"]
    with (
        Fetcher(Politeness(longest_retry_after_s=5)) as fetcher,
        pytest.raises(SourceUnavailable, match=r"asks to wait 7 s"),
    ):
        fetcher.get(f"{server.url}/file", bytes)
    assert waits == []


def test_a_tired_server_is_left_alone_by_all_connections(server, waits, fetcher):
    server.files |= {"a": b"a", "b": b"b"}
    server.faults["a"] = ["429"]
    fetcher.get(f"{server.url}/a", bytes)
    waits.clear()
    fetcher.get(f"{server.url}/b", bytes)
    assert waits == [pytest.approx(7, abs=1)]


def test_requests_are_as_far_apart_as_asked(server, waits):
    server.files["file"] = b"x"
    with Fetcher(Politeness(pause_s=50)) as fetcher:
        for _ in range(3):
            fetcher.get(f"{server.url}/file", bytes)
    assert waits == [pytest.approx(50, abs=1), pytest.approx(100, abs=2)]


def test_the_last_failure_is_reported_with_its_reason(server, fetcher):
    server.faults["file"] = ["403"] * 5
    with pytest.raises(
        SourceUnavailable, match=r"source not reachable: http://\S+/file failed 5 times \(403 Forbidden\)"
    ):
        fetcher.get(f"{server.url}/file", bytes)


def test_what_will_not_change_is_not_asked_again(server, waits, fetcher, tmp_path):
    with pytest.raises(Refused, match="answers 404 Not Found") as refused:
        fetcher.download(f"{server.url}/none", tmp_path / "none")
    assert refused.value.status == 404
    assert waits == []
    assert len(server.requests) == 1


def test_a_host_that_never_answers_is_given_up_soon(waits):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
    with Fetcher() as fetcher, pytest.raises(SourceUnavailable, match=r"failed 3 times \(ConnectError.*check address"):
        fetcher.get(url, bytes)


def test_an_endless_answer_is_refused(server, fetcher):
    server.files["file"] = CONTENT
    with pytest.raises(Refused, match="longer than 1,000 bytes"):
        fetcher.get(f"{server.url}/file", bytes, max_bytes=1000)


def test_a_server_that_trickles_is_not_waited_for(server, waits, tmp_path, monkeypatch):
    server.files["file"] = CONTENT[:1000]
    clock = iter(range(0, 10_000, 100))
    with Fetcher(Politeness(tries=2)) as fetcher:
        monkeypatch.setattr("gristmill.crawl.http_transfer.time.monotonic", lambda: next(clock))
        with pytest.raises(SourceUnavailable, match="1000 bytes arrived in 60 s"):
            fetcher.get(f"{server.url}/file", bytes)


def test_many_files_come_in_their_order_and_not_more_at_a_time_than_allowed(server, waits):
    now, most, lock = 0, 0, threading.Lock()

    def answer(_query):
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        time.sleep(0.01)
        with lock:
            now -= 1
        return 200, b"x"

    names = [f"file{number}" for number in range(12)]
    server.answers |= dict.fromkeys(names, answer)
    with Fetcher(Politeness(connections=3)) as fetcher:
        done = fetcher.in_order(lambda name: fetcher.get(f"{server.url}/{name}", bytes), names)
        assert [name for name, content in done if content == b"x"] == names
    assert most == 3


def test_the_first_error_stops_what_else_is_being_fetched(server, tmp_path):
    server.files |= {"slow": CONTENT, "other": CONTENT}
    server.faults["slow"] = ["503"] * 50  # its waits are real here, and long
    began = time.monotonic()
    with Fetcher(Politeness(connections=2)) as fetcher, pytest.raises(Refused, match="404"):
        for _ in fetcher.in_order(
            lambda name: fetcher.download(f"{server.url}/{name}", tmp_path / name), ["none", "slow", "other"]
        ):
            pass
    assert time.monotonic() - began < 5


def test_other_file_systems_are_read_in_pieces_and_gone_on_with(waits, tmp_path, monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe("/fetch/file", CONTENT)
    monkeypatch.setattr("gristmill.crawl.filesystem_transfer.PIECE_BYTES", 100_000)
    ranges = []
    read = type(memory).cat_file

    def flaky(self, path, start=None, end=None, **options):
        ranges.append((start, end))
        if len(ranges) in (3, 4):
            raise ConnectionResetError("reset by peer")
        return read(self, path, start=start, end=end, **options)

    monkeypatch.setattr(type(memory), "cat_file", flaky)
    with Fetcher(QUICK) as fetcher:
        fetcher.download("memory://fetch/file", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == CONTENT
        starts = [start for start, _ in ranges]
        assert starts == [0, 100_000, 200_000, 200_000, 200_000, 300_000, 400_000, 500_000, 600_000]
        fetcher.download("memory://fetch/file", tmp_path / "first", first_bytes=1000)
        assert (tmp_path / "first").read_bytes() == CONTENT[:1000]
        assert fetcher.get_range("memory://fetch/file", 10, 20) == CONTENT[10:30]
        with pytest.raises(Refused, match="is not there"):
            fetcher.get("memory://fetch/none", bytes)


def test_the_user_agent_names_the_program(server: FaultyServer, fetcher):
    server.files["file"] = b"x"
    fetcher.get(f"{server.url}/file", bytes)
    assert server.asked("file")[0]["user-agent"].startswith("gristmill/")


def test_nothing_is_written_outside_the_folder_of_the_file(server, fetcher, tmp_path):
    server.files["file"] = CONTENT
    (tmp_path / "in").mkdir()
    fetcher.download(f"{server.url}/file", tmp_path / "in" / "file")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "file"]
