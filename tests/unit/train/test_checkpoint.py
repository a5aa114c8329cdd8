import pytest
import torch

from gristmill.train.checkpoint import TrainState, load_checkpoint, newest_checkpoint, save_checkpoint


def save(folder, step, run_digest="this run"):
    tensors = {"weight": torch.full((3,), float(step))}
    return save_checkpoint(folder, TrainState(step=step), run_digest=run_digest, weights=tensors, optimizer={})


def test_the_newest_two_are_kept(tmp_path):
    for step in (9, 10, 100):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    found = newest_checkpoint(tmp_path, run_digest="this run")
    assert found is not None
    path, state = found
    assert state.step == 100
    assert torch.equal(load_checkpoint(path)[0]["weight"], torch.full((3,), 100.0))


@pytest.mark.parametrize("file", ["model.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, file):
    save(tmp_path, 1)
    damaged = save(tmp_path, 2) / file
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = newest_checkpoint(tmp_path, run_digest="this run")
    assert found is not None
    assert found[1].step == 1
    assert "step-00000002 is passed over" in caplog.text


def test_a_checkpoint_with_a_file_missing_is_passed_over(tmp_path):
    (save(tmp_path, 2) / "optimizer.safetensors").unlink()
    assert newest_checkpoint(tmp_path, run_digest="this run") is None


def test_what_a_crash_left_half_written_is_not_seen_and_does_not_stand_in_the_way(tmp_path):
    (tmp_path / ".draft").mkdir()
    (tmp_path / ".draft" / "model.safetensors").write_bytes(b"half")
    assert newest_checkpoint(tmp_path, run_digest="this run") is None
    save(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    save(tmp_path, 1, run_digest="another run")
    with pytest.raises(ValueError, match="another configuration or other inputs"):
        newest_checkpoint(tmp_path, run_digest="this run")
