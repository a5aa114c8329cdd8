import json
import math

from gristmill.metrics import MetricsWriter, read_metrics


def test_rows_come_back_in_the_order_they_were_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        metrics.write(1, {"loss": 2.5})
        metrics.write(2, {"loss": 2.25, "lr": 0.1})
        assert read_metrics(path)[-1] == {"step": 2, "loss": 2.25, "lr": 0.1}, "a reader may follow a growing file"
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_numbers_that_json_cannot_say_are_written_as_words(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        metrics.write(1, {"loss": math.nan, "grad_norm": math.inf})
    assert json.loads(path.read_text()) == {"step": 1, "loss": "not finite", "grad_norm": "not finite"}


def test_a_resumed_run_drops_the_rows_of_steps_it_takes_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        for step in (1, 2, 3):
            metrics.write(step, {"loss": 3.0})
    with MetricsWriter(path, last_step=2) as metrics:
        metrics.write(3, {"loss": 4.0})
    assert [(row["step"], row["loss"]) for row in read_metrics(path)] == [(1, 3.0), (2, 3.0), (3, 4.0)]


def test_a_new_run_starts_an_empty_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        metrics.write(1, {"loss": 3.0})
    with MetricsWriter(path):
        assert read_metrics(path) == []


def test_a_last_line_cut_off_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}]
    with MetricsWriter(path, last_step=2) as metrics:
        metrics.write(2, {"loss": 1.5})
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]
