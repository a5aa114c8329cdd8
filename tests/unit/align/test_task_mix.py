"""Fine-tuning on a mix: how often a row of each task is seen, and what carries over to a task that is held out."""

import json
from pathlib import Path

import pytest

from gristmill.align.config import SftConfig
from gristmill.align.data import Dropped, read_conversations
from gristmill.align.rows_config import FileRows, MixedRows, TaskRows
from gristmill.align.sft import run_sft
from gristmill.schema import Resources


def task(folder: Path, name: str, weight: float, *, rows: int = 40, license: str = "MIT") -> TaskRows:
    path = folder / f"{name}.jsonl"
    lines = [{"prompt": f"{name} {n}?", "completion": f"{name}, in order."} for n in range(rows)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return TaskRows(rows=FileRows(paths=[str(path)], held_out=0.25, license=license), weight=weight)


def test_a_row_is_seen_as_often_as_its_tasks_weight_says(tmp_path: Path):
    alone = {name: read_conversations(task(tmp_path, name, 1, rows=400).rows, None) for name in ("sort", "join")}
    mix = MixedRows(tasks={"sort": task(tmp_path, "sort", 2, rows=400), "join": task(tmp_path, "join", 0.5, rows=400)})
    split = read_conversations(mix, None)
    seen = {name: [row for row in split.train if row.task == name] for name in mix.tasks}
    assert len(seen["sort"]) == 2 * len(alone["sort"].train)
    assert len({str(row.messages) for row in seen["join"]}) == len(seen["join"])
    assert len(seen["join"]) == pytest.approx(len(alone["join"].train) / 2, rel=0.2)
    assert split.rows == 800
    assert len(split.held_out) == len(alone["sort"].held_out) + len(alone["join"].held_out)


def test_a_task_without_weight_is_held_out_whole_and_keeps_its_copies(tmp_path: Path):
    mix = MixedRows(tasks={"sort": task(tmp_path, "sort", 1, license="CC-BY-4.0"), "join": task(tmp_path, "join", 0)})
    with (tmp_path / "sort.jsonl").open("a") as file:
        file.write('{"prompt": "join 3?", "completion": "join, in order."}\n')
    split = read_conversations(mix, None)
    assert {row.task for row in split.train} == {"sort"}
    assert sum(row.task == "join" for row in split.held_out) == 40
    assert split.dropped == [Dropped("sort: sort.jsonl:41", "duplicate")]
    assert split.license == "CC-BY-4.0 AND MIT"


def test_a_prompt_that_one_task_holds_out_does_not_train_in_another(tmp_path: Path):
    less = task(tmp_path, "sort", 1, rows=100)
    path = tmp_path / "join.jsonl"
    more = TaskRows(rows=FileRows(paths=[str(path)], held_out=0.75))
    other = [{"prompt": f"sort {n}?", "completion": "In another order."} for n in range(100)]
    path.write_text("".join(json.dumps(row) + "\n" for row in other))
    split = read_conversations(MixedRows(tasks={"less": less, "more": more}), None)
    train, held_out = ({row.messages[0]["content"] for row in part} for part in (split.train, split.held_out))
    assert not train & held_out
    reasons = [row.reason for row in split.dropped]
    assert set(reasons) == {"held_out_in_another_task"}
    assert len(split.train) + len(split.held_out) + len(reasons) == split.rows == 200
    assert {row.row.split(": ")[0] for row in split.dropped} == {"less"}


def test_the_report_has_each_task_and_what_carried_over(tiny_model: Path, tmp_path: Path):
    mix = MixedRows(tasks={"sort": task(tmp_path, "sort", 1), "join": task(tmp_path, "join", 0)})
    config = SftConfig(data=mix, epochs=4, batch_rows=8, micro_rows=8, lr=3e-3, held_out_rows=10)
    report = run_sft(tiny_model, None, tmp_path, config, Resources(threads=1, device="cpu"))
    tasks = report.details["tasks"]
    assert (tasks["join"]["train_rows"], tasks["join"]["held_out_rows"]) == (0, 10)
    assert tasks["sort"]["train_rows"] == report.rows_out
    assert all(one["held_out_nats_per_token_change_ci_high"] < 0 for one in tasks.values())
    assert tasks["sort"]["held_out_nats_per_token_change"] < tasks["join"]["held_out_nats_per_token_change"]


def test_weights_and_rows_are_part_of_the_key_and_places_are_not(tmp_path: Path):
    (tmp_path / "other").mkdir()
    first = SftConfig(data=MixedRows(tasks={"sort": task(tmp_path, "sort", 1)})).identity()
    moved = SftConfig(data=MixedRows(tasks={"sort": task(tmp_path / "other", "sort", 1)})).identity()
    heavier = SftConfig(data=MixedRows(tasks={"sort": task(tmp_path, "sort", 2)})).identity()
    assert first == moved != heavier


def test_the_order_of_tasks_is_part_of_the_key(tmp_path: Path):
    tasks = {name: task(tmp_path, name, 1) for name in ("sort", "join")}
    keys = {
        json.dumps(SftConfig(data=MixedRows(tasks={name: tasks[name] for name in order})).identity(), sort_keys=True)
        for order in (["sort", "join"], ["join", "sort"])
    }
    assert len(keys) == 2


def test_a_mix_in_which_nothing_trains_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="every task of the mix has weight 0"):
        MixedRows(tasks={"sort": task(tmp_path, "sort", 0)})
