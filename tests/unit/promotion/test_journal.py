import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

from gristmill.promotion.journal import Journal

WRITERS, ENTRIES = 4, 50


def write(root: Path, writer: int) -> None:
    journal = Journal(root, "m")
    for number in range(ENTRIES):
        journal.append("judged", writer=writer, number=number, rules=["x" * 3000])


def write_forever(root: Path) -> None:
    journal = Journal(root, "m")
    while True:
        journal.append("judged", rules=["x" * 3000])


def test_several_writers_leave_every_entry_whole(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write, args=(tmp_path, writer)) for writer in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = [(entry["writer"], entry["number"]) for entry in Journal(tmp_path, "m").read()]
    assert sorted(found) == [(writer, number) for writer in range(WRITERS) for number in range(ENTRIES)]
    for writer in range(WRITERS):
        assert [number for of, number in found if of == writer] == list(range(ENTRIES))


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path):
    process = multiprocessing.get_context("fork").Process(target=write_forever, args=(tmp_path,))
    process.start()
    journal = Journal(tmp_path, "m")
    deadline = time.monotonic() + 20
    while len(journal.read()) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lines = [line for line in journal.path.read_bytes().split(b"\n") if line]
    assert len(lines) >= 5
    assert all(json.loads(line)["event"] == "judged" for line in lines)


def test_a_line_that_was_cut_off_is_skipped_and_the_next_is_whole(tmp_path: Path):
    journal = Journal(tmp_path, "m")
    journal.append("judged", number=1)
    with journal.path.open("ab") as file:
        file.write(b'\n{"id": "cut o')
    journal.append("judged", number=2)
    assert [entry["number"] for entry in journal.read()] == [1, 2]


def test_nothing_decided_is_no_entry(tmp_path: Path):
    assert Journal(tmp_path, "m").read() == []
