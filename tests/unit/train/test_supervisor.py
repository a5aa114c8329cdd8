"""What a run does about spikes, about validation that stops improving, and about its last phase; resumed bit by bit."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training import StopBefore, finished, logged, started, weights_of

from gristmill.report import Report
from gristmill.tokens.pack import INDEX_SCHEMA
from gristmill.tokens.reader import TokenShards
from gristmill.train import guards
from gristmill.train import trainer as trainer_module
from gristmill.train.interrupts import StopRequest
from gristmill.train.loader import BatchLoader
from gristmill.train.supervisor import Supervisor, TrainingDiverged
from gristmill.train.trainer import Trainer

STEPS = 12
LONG = {"tokens": STEPS * 4 * 12}
# losses that jump about as those of 12 steps do are spikes for none of these tests, unless they are planted
CALM = {"window_steps": 4, "anchor_every_steps": 3, "spike_z": 1e6}


@pytest.fixture
def spike_at(monkeypatch) -> Callable[..., None]:
    """spike_at(5, 6): the losses of these steps (0 is the first) are NaN, in every trainer of the test."""
    at: set[int] = set()
    judge = Supervisor.judge

    def judge_with_spikes(self: Supervisor, loss: float, grad_norm: float):
        return judge(self, math.nan if self.trainer.state.step in at else loss, grad_norm)

    monkeypatch.setattr(Supervisor, "judge", judge_with_spikes)
    return lambda *steps: at.update(steps)


def result(out: Path) -> Report:
    return Report.model_validate_json((out / "result.json").read_text())


def test_a_step_that_is_left_out_moves_nothing(make_run, tmp_path, spike_at):
    spike_at(5)
    trainer = started(make_run(**LONG), tmp_path)
    assert not trainer.train(StopBefore(5))
    before = weights_of(trainer)
    assert not trainer.train(StopBefore(1))
    assert trainer.state.step == 6
    assert trainer.state.guard.skipped == (5,)
    assert trainer.state.skipped_steps == 1
    assert all(torch.equal(old, new) for old, new in zip(before, weights_of(trainer), strict=True))


def test_a_rollback_restores_the_anchor_and_goes_on_behind_the_spike(make_run, tmp_path, spike_at):
    spike_at(7, 8)
    run = make_run(**LONG, guards=CALM, max_skipped_steps=1)
    trainer = started(run, tmp_path)
    assert not trainer.train(StopBefore(6))
    at_anchor, optimizer = weights_of(trainer), {k: v.clone() for k, v in trainer.optimizers.state().items()}
    assert trainer.state.guard.anchor == 6
    assert not trainer.train(StopBefore(3))
    assert trainer.state.step == 9
    assert trainer.state.guard.left_out == ((6, 8),)
    assert trainer.state.skipped_steps == 3
    assert all(torch.equal(old, new) for old, new in zip(at_anchor, weights_of(trainer), strict=True))
    assert all(torch.equal(tensor, trainer.optimizers.state()[key]) for key, tensor in optimizer.items())
    assert trainer.train(StopRequest())
    trainer.finish()
    details = result(tmp_path).details
    assert details["left_out"] == [[6, 8]]
    assert [each["step"] for each in details["skipped"]] == [7]
    assert result(tmp_path).metrics["skipped_steps"] == 3


@pytest.mark.parametrize("stop_before", [2, 4, 7, 8, 9, 10])
def test_a_run_with_spikes_that_is_stopped_ends_with_the_same_bits(make_run, tmp_path, spike_at, stop_before):
    spike_at(1, 7, 8)
    run = make_run(**LONG, guards=CALM, max_skipped_steps=1)
    straight = finished(run, tmp_path / "straight")
    stopped = tmp_path / "stopped"
    assert not started(run, stopped).train(StopBefore(stop_before))
    assert finished(run, stopped) == straight
    assert result(stopped) == result(tmp_path / "straight")
    assert logged(stopped, "loss") == logged(tmp_path / "straight", "loss")


def test_a_kill_between_rollback_and_checkpoint_repeats_the_rollback(make_run, tmp_path, spike_at):
    spike_at(7, 8)
    run = make_run(**LONG, guards=CALM, max_skipped_steps=1)
    straight = finished(run, tmp_path / "straight")
    killed = tmp_path / "killed"
    seldom = run.model_copy(update={"config": run.config.model_copy(update={"checkpoint_every_s": 1e9})})
    assert not started(run, killed).train(StopBefore(7))
    trainer = started(seldom, killed)
    for _ in range(3):  # over the rollback and past the next anchor, then dropped as by kill -9
        trainer._step_and_report(None)
    trainer._step_and_report(None)
    assert trainer.state.guard.left_out == ((6, 8),)
    assert finished(run, killed) == straight


def test_text_that_is_unlike_the_rest_is_left_out(make_run, tmp_path):
    """Nothing planted in the loop: a row of noise in a text that counts up, which the model has learned."""
    fields = {"checkpoint_every_s": 1e9, "eval_every_steps": 1000, "schedule": {"decay_ratio": 0.0}}
    run = make_run(tokens=150 * 4 * 12, guards={"window_steps": 24}, **fields)
    trainer = started(run, tmp_path)
    assert not trainer.train(StopBefore(140))
    assert trainer.state.guard.skipped == ()
    rows = np.load(run.tokens / "train" / "tokens-00000.npy", mmap_mode="r+")
    noisy = trainer.data.row_indices(144)[0]
    rows[noisy, 1:] = np.random.default_rng(5).integers(4, 40, 12)
    assert not trainer.train(StopBefore(5))
    with_noise = tuple(step for step in range(140, 145) if noisy in trainer.data.row_indices(step))
    assert trainer.state.guard.skipped == with_noise


def test_a_run_that_diverges_names_rows_and_documents(make_run, tmp_path, spike_at):
    run = make_run(**LONG, guards={**CALM, "max_rollbacks": 1}, max_skipped_steps=0)
    pieces = [
        {"split": split, "row": row, "start": 0, "length": 13, "doc_id": f"doc{row:02d}", "continuation": False}
        for split in ("train", "validation")
        for row in range(TokenShards(run.tokens).rows(split))
    ]
    pq.write_table(pa.Table.from_pylist(pieces, schema=INDEX_SCHEMA), run.tokens / "index.parquet")
    spike_at(7, 9)
    trainer = started(run, tmp_path)
    rows = trainer.data.row_indices(9).tolist()
    with pytest.raises(TrainingDiverged, match="step 10: loss ") as error:
        trainer.train(StopRequest())
    assert f"training rows {rows}, documents {', '.join(f'doc{row:02d}' for row in rows)};" in str(error.value)
    assert "went back 1 times" in str(error.value)
    assert "gristmill trace ID" in str(error.value)


def test_a_rollback_without_its_anchor_ends_the_run_with_advice(make_run, tmp_path, spike_at):
    spike_at(7)
    trainer = started(make_run(**LONG, guards=CALM, max_skipped_steps=0), tmp_path)
    assert not trainer.train(StopBefore(7))
    (tmp_path / "checkpoints" / "anchors" / "step-00000006" / "model.safetensors").write_bytes(b"")
    with pytest.raises(RuntimeError, match="checkpoint of step 6 is damaged or gone"):
        trainer.train(StopRequest())


@pytest.fixture
def validation_of(monkeypatch) -> Callable[[dict[int, float]], None]:
    """validation_of({3: 2.0, …}): bits per byte that are measured after so many steps, in place of real ones."""

    def plant(by_step: dict[int, float]) -> None:
        monkeypatch.setattr(Trainer, "validation_bits", lambda self: {self.objective.metric: by_step[self.state.step]})

    return plant


def test_a_run_that_stops_improving_ends_early_with_its_best_weights(make_run, tmp_path, validation_of):
    validation_of({2: 5.0, 4: 4.0, 6: 3.9995, 8: 4.5, 10: 4.2, 12: 1.0})
    fields = {**LONG, "eval_every_steps": 2, "early_stop": {"patience": 3, "min_delta": 0.001}}
    until_best = tmp_path / "until_best"
    trainer = started(make_run(**fields), until_best)
    assert not trainer.train(StopBefore(4))
    best = weights_of(trainer)

    out = tmp_path / "out"
    trainer = started(make_run(**fields), out)
    assert trainer.train(StopRequest())
    assert trainer.state.step == 10  # 6, 8 and 10 brought no gain: .0005 is none
    trainer.finish()
    report = result(out)
    assert (report.metrics["steps"], report.metrics["bits_per_byte"]) == (4, 4.0)
    assert all(torch.equal(old, new) for old, new in zip(best, weights_of(trainer), strict=True))
    assert report.details["steps_planned"] == 12
    assert not (out / "checkpoints").exists()


@pytest.mark.parametrize("stop_before", [3, 5, 9])
def test_an_early_end_is_the_same_after_a_stop(make_run, tmp_path, validation_of, stop_before):
    validation_of({2: 5.0, 4: 4.0, 6: 4.5, 8: 4.5, 10: 4.2})
    run = make_run(**LONG, eval_every_steps=2, early_stop={"patience": 3})
    straight = finished(run, tmp_path / "straight")
    stopped = tmp_path / "stopped"
    assert not started(run, stopped).train(StopBefore(stop_before))
    assert finished(run, stopped) == straight
    assert result(stopped) == result(tmp_path / "straight")


def test_a_run_that_gains_to_the_end_keeps_its_last_weights(make_run, tmp_path, validation_of):
    validation_of({3: 5.0, 6: 3.0, 9: 2.0, 11: 1.5, 12: 1.0})  # 5.5 steps are an epoch, whose end is measured
    patient = finished(make_run(**LONG, early_stop={"patience": 1}), tmp_path / "patient")
    assert patient == finished(make_run(**LONG), tmp_path / "plain")
    assert result(tmp_path / "patient").metrics["steps"] == 12


def better_rows(folder: Path, **changed) -> Path:
    """Other shards of the same vocabulary."""
    other = folder.with_name("better")
    shards = TokenShards(folder)
    for split, rows in (("train", 9), ("validation", 2)):
        (other / split).mkdir(parents=True)
        np.save(other / split / "tokens-00000.npy", shards.read(split, np.arange(rows) % shards.rows(split))[:, ::-1])
    np.save(other / "token_bytes.npy", changed.pop("token_bytes", shards.token_bytes))
    splits = {"train": {"rows": 9}, "validation": {"rows": 2}}
    (other / "meta.json").write_text(json.dumps(shards.meta | {"digest": "1" * 64, "splits": splits} | changed))
    return other


ANNEAL = {"artifact": "tokens/tokenize-0123456789ab", "share": 0.25}


def annealing(make_run, folder: Path | None, **fields):
    return make_run(**LONG, anneal=ANNEAL, **fields).model_copy(update={"anneal": folder})


def test_the_last_phase_reads_other_rows_in_an_order_of_its_own(make_run, tmp_path):
    run = annealing(make_run, better_rows(make_run().tokens))
    trainer = started(run, tmp_path)
    first, second = (TokenShards(folder) for folder in (run.tokens, run.anneal))
    before, after = (BatchLoader(shards, batch_rows=4, seed=0) for shards in (first, second))
    for step in range(STEPS):
        loader, place = (before, step) if step < 9 else (after, step - 9)
        assert np.array_equal(trainer.data.read(step), loader.read(place))
    assert [trainer.data.begins_anew(step) for step in (0, 8, 9, 10)] == [False, False, True, False]


def test_a_run_with_a_last_phase_resumes_bit_by_bit_and_says_where_it_began(make_run, tmp_path):
    run = annealing(make_run, better_rows(make_run().tokens))
    straight = finished(run, tmp_path / "straight")
    stopped = tmp_path / "stopped"
    for steps in (8, 2):
        assert not started(run, stopped).train(StopBefore(steps))
    assert finished(run, stopped) == straight
    assert result(stopped).details["anneal_begins"] == 9
    assert straight != finished(make_run(**LONG), tmp_path / "without")


def test_losses_of_other_text_are_no_measure_for_a_spike(make_run, tmp_path):
    run = annealing(make_run, better_rows(make_run().tokens), guards=CALM, max_skipped_steps=0)
    trainer = started(run, tmp_path)
    assert not trainer.train(StopBefore(10))
    assert len(trainer.state.guard.losses) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vocab_size": 41}, "vocab_size=41, those of the run 40"),
        ({"seq_len": 11}, "seq_len=11, those of the run 12"),
        ({"token_bytes": np.arange(40, dtype=np.int32)}, "token 1 stands for 1 bytes in its shards and for 0"),
    ],
)
def test_rows_of_another_tokenizer_are_refused(make_run, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        started(annealing(make_run, better_rows(make_run().tokens, **changed)), tmp_path)


def test_rows_to_anneal_on_must_lie_somewhere(make_run, tmp_path):
    with pytest.raises(ValueError, match="the folder where it lies, is not given"):
        started(annealing(make_run, None), tmp_path)


def test_samples_are_written_as_the_run_goes_and_resume_with_it(make_run, tmp_path):
    run = make_run(**LONG, sample_every_steps=4, sample_prompts=["w7 w8", "w20"], sample_tokens=5)
    finished(run, tmp_path / "straight")
    written = [json.loads(line) for line in (tmp_path / "straight" / "samples.jsonl").read_text().splitlines()]
    assert [(row["step"], row["prompt"]) for row in written] == [
        (step, prompt) for step in (4, 8, 12) for prompt in ("w7 w8", "w20")
    ]
    stopped = tmp_path / "stopped"
    assert not started(run, stopped).train(StopBefore(9))
    newest = max((stopped / "checkpoints").glob("step-*"))
    (newest / "state.json").unlink()  # the checkpoint before it is used: the sample of step 8 is written again
    finished(run, stopped)
    assert (stopped / "samples.jsonl").read_bytes() == (tmp_path / "straight" / "samples.jsonl").read_bytes()


def test_a_profile_is_a_trace_of_three_steps(make_run, tmp_path):
    run = make_run(**LONG)
    config = tmp_path / "run.yaml"
    config.write_text(run.model_dump_json())
    out = tmp_path / "out"
    out.mkdir()
    assert trainer_module.pretrain(run, out, profile=True) == 0
    trace = json.loads((out / "profile" / "trace.json").read_text())
    steps = {event["name"] for event in trace["traceEvents"] if event["name"].startswith("ProfilerStep#")}
    assert steps == {"ProfilerStep#3", "ProfilerStep#4", "ProfilerStep#5"}


def test_what_is_remembered_is_in_every_checkpoint(make_run, tmp_path, spike_at):
    spike_at(2)
    run = make_run(**LONG, guards={"window_steps": 3}, early_stop={"patience": 9})
    trainer = started(run, tmp_path)
    assert not trainer.train(StopBefore(4))
    resumed = started(run, tmp_path)
    assert resumed.state == trainer.state
    assert resumed.state.guard == guards.GuardState(losses=resumed.state.guard.losses, skipped=(2,))
    assert len(resumed.state.guard.losses) == 3
    assert resumed.state.best_step == 3
