import json

import pytest
import torch

from gristmill.train.checkpoint import TrainState, newest_checkpoint, save_checkpoint
from gristmill.train.ranks import Ranks

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
RECIPE = {"config": {"seed": 0}, "model": {"depth": 1}, "tokens": "0" * 64, "start": None}


def save(folder, step, *, recipe=RECIPE, keep=2, **state):
    tensors = {"weight": torch.full((3,), float(step))}
    state = TrainState(step=step, **state)
    save_checkpoint(folder, state, recipe=recipe, weights=tensors, optimizer={}, ranks=ALONE, keep=keep)
    return folder / f"step-{step:08d}"


def newest(folder, *, recipe=RECIPE, defaults=None):
    return newest_checkpoint(folder, recipe=recipe, defaults=defaults or {})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_two_are_kept(tmp_path):
    for step in (9, 10, 100):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000010", "step-00000100"]
    found = newest(tmp_path)
    assert found is not None
    assert found.state.step == 100
    assert torch.equal(found.weights().read("weight"), torch.full((3,), 100.0))
    assert found.optimizer().names() == []


def test_the_best_is_kept_beside_as_many_of_the_newest_as_wanted(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step, keep=3, best_step=1)
    assert names(tmp_path) == [f"step-0000000{step}" for step in (1, 3, 4, 5)]
    save(tmp_path, 6, keep=1, best_step=6)
    assert names(tmp_path) == ["step-00000006"]


def test_what_a_killed_run_left_beyond_does_not_push_out_what_is_written(tmp_path):
    for step in (3, 7, 9):
        save(tmp_path, step, keep=3)
    save(tmp_path, 4)
    assert names(tmp_path) == ["step-00000003", "step-00000004"]


def test_the_manifest_names_every_file(tmp_path):
    path = save(tmp_path, 1)
    manifest = json.loads((path / "state.json").read_text())
    assert manifest["format"] == 2
    assert sorted([*manifest["files"], "state.json"]) == names(path)


@pytest.mark.parametrize("file", ["model.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, file):
    save(tmp_path, 1)
    damaged = save(tmp_path, 2) / file
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = newest(tmp_path)
    assert found is not None
    assert found.state.step == 1
    assert "step-00000002 is passed over" in caplog.text


def test_a_checkpoint_with_a_file_missing_is_passed_over(tmp_path):
    (save(tmp_path, 2) / "optimizer.safetensors").unlink()
    assert newest(tmp_path) is None


def test_what_a_crash_left_half_written_is_not_seen_and_does_not_stand_in_the_way(tmp_path):
    (tmp_path / ".draft").mkdir()
    (tmp_path / ".draft" / "model.safetensors").write_bytes(b"half")
    assert newest(tmp_path) is None
    save(tmp_path, 3)
    assert names(tmp_path) == ["step-00000003"]


def test_a_checkpoint_of_another_run_is_refused_and_the_difference_named(tmp_path):
    save(tmp_path, 1, recipe={**RECIPE, "config": {"seed": 7}})
    with pytest.raises(ValueError, match=r"another configuration or other inputs \(config\.seed: 7 there, 0 here\)"):
        newest(tmp_path)


def test_a_run_goes_on_after_an_upgrade_that_added_a_setting(tmp_path):
    save(tmp_path, 1)
    added = {**RECIPE, "config": {"seed": 0, "optim": {"kind": "muon"}}}
    assert newest(tmp_path, recipe=added, defaults=added) is not None
    used = {**RECIPE, "config": {"seed": 0, "optim": {"kind": "adamw"}}}
    with pytest.raises(ValueError, match=r"config\.optim\.kind: absent there, adamw here"):
        newest(tmp_path, recipe=used, defaults=added)


def test_a_checkpoint_of_a_newer_version_is_refused_by_its_number(tmp_path):
    manifest = save(tmp_path, 1) / "state.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 3}))
    with pytest.raises(ValueError, match="has format 3, this version of gristmill reads 1 to 2"):
        newest(tmp_path)
