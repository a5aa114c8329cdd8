import errno
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.review.folder import LOG, read_review
from gristmill.review.log import Judgement, append, parse_log


def judgement(item: str, verdict: str = "left", reviewer: str = "anna", **more: str) -> Judgement:
    return Judgement(reviewer=reviewer, item=item, verdict=verdict, left=0, **more)  # type: ignore[arg-type]


def test_the_last_word_of_each_reviewer_on_each_item_stands(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    said = [judgement("x"), judgement("y"), judgement("x", reviewer="boris"), judgement("y", "undo"), judgement("z")]
    for each in said:
        append(path, each)
    found = parse_log(path.read_bytes(), path.name)
    assert found.standing == [said[0], said[2], said[4]]
    assert (found.undone, found.torn) == (1, [])
    assert list(found.by("anna")) == ["x", "z"]


def test_a_judgement_is_synced_to_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[bytes] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name.encode())

    monkeypatch.setattr(os, "fsync", recorded)
    append(tmp_path / "log.jsonl", judgement("x"))
    assert synced == [b"log.jsonl", tmp_path.name.encode()]  # a new file's name is in its folder
    append(tmp_path / "log.jsonl", judgement("y"))
    assert synced[2:] == [b"log.jsonl"]


@given(cut=st.integers(min_value=0, max_value=400), remark=st.text(max_size=20))
def test_wherever_a_crash_cuts_the_log_whole_lines_stand_and_at_most_one_is_torn(cut: int, remark: str):
    said = [judgement("x"), judgement("y", remark=remark), judgement("z")]
    lines = [each.model_dump_json(exclude_none=True).encode() + b"\n" for each in said]
    content = b"".join(lines)[:cut]
    found = parse_log(content, "log.jsonl")
    ends = [sum(map(len, lines[: number + 1])) - 1 for number in range(3)]  # a line whole but for its newline is whole
    whole = sum(end <= cut for end in ends)
    assert found.standing == said[:whole]
    is_torn = cut < ends[-1] and cut not in (0, *(end + 1 for end in ends), *ends)
    assert found.torn == ([whole + 1] if is_torn else [])


def test_after_a_torn_line_the_next_judgement_has_a_line_of_its_own(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    append(path, judgement("x"))
    with path.open("ab") as file:
        file.write(b'{"at": "2026-11-26T01:02')
    append(path, judgement("y"))
    found = parse_log(path.read_bytes(), path.name)
    assert [each.item for each in found.standing] == ["x", "y"]
    assert found.torn == [2]


def test_a_full_disk_is_an_error_and_the_torn_line_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, write = tmp_path / "log.jsonl", os.write
    append(path, judgement("x"))
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:17]))
    with pytest.raises(OSError, match="17 of"):
        append(path, judgement("y"))
    monkeypatch.undo()
    append(path, judgement("y"))
    assert [each.item for each in parse_log(path.read_bytes(), path.name).standing] == ["x", "y"]


def _append_many(path: Path, reviewer: str) -> None:
    for number in range(100):
        append(path, judgement(str(number), reviewer=reviewer, remark="x" * 5000))


def test_several_writers_do_not_mix_their_lines(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, name)) for name in ("anna", "boris", "clara")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = parse_log(path.read_bytes(), path.name)
    assert (len(found.standing), found.torn) == (300, [])


def test_a_line_that_somebody_else_wrote_is_named():
    with pytest.raises(ValueError, match=r"log\.jsonl:1: .*not written by `gristmill review`"):
        parse_log(b'{"verdict": "left"}\n', "log.jsonl")


def test_a_log_of_another_queue_is_refused(folder: Path):
    append(folder / LOG, judgement("0123456789abcdef"))
    with pytest.raises(ValueError, match="belongs to another queue"):
        read_review(folder)


@pytest.mark.parametrize(("verdict", "written"), [("written", None), ("written", "  "), ("left", "text")])
def test_a_written_answer_and_its_verdict_go_together(verdict: str, written: str | None):
    with pytest.raises(ValueError, match="comes with an answer"):
        Judgement(reviewer="anna", item="x", verdict=verdict, left=0, written=written)  # type: ignore[arg-type]


def test_append_raises_where_the_folder_cannot_be_written(tmp_path: Path):
    with pytest.raises(OSError) as raised:
        append(tmp_path / "gone" / "log.jsonl", judgement("x"))
    assert raised.value.errno == errno.ENOENT
