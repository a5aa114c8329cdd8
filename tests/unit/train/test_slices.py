import json

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from gristmill.train.ranks import Ranks
from gristmill.train.slices import SLICES, SavedTensors, save_slices

WHOLE = torch.arange(24.0).reshape(8, 3)


@pytest.fixture
def parts(tmp_path):
    """The rows of a tensor in three files: 0 to 2, 3 to 7, and none."""
    paths = []
    for number, (first, last) in enumerate(((0, 3), (3, 8), (8, 8))):
        paths.append(tmp_path / f"model-{number}.safetensors")
        tensors = {"weight": WHOLE[first:last].clone()}
        if number == 0:
            tensors["count"] = torch.tensor(7.0)
        header = {SLICES: json.dumps({"weight": [first, len(WHOLE)]})}
        safetensors.torch.save_file(tensors, paths[-1], header)
    return paths


@pytest.mark.parametrize("order", [1, -1])
def test_parts_make_the_whole_in_whatever_order_their_files_come(parts, order):
    saved = SavedTensors(parts[::order])
    assert saved.names() == ["count", "weight"]
    assert torch.equal(saved.read("weight"), WHOLE)
    assert saved.read("count") == 7


@pytest.mark.parametrize("rows", [range(8), range(2), range(2, 5), range(3, 8), range(7, 8), range(8, 8)])
def test_any_range_of_rows_can_be_read(parts, rows):
    found = SavedTensors(parts).read("weight", rows)
    assert torch.equal(found, WHOLE[rows.start : rows.stop])


def test_a_tensor_that_no_file_has_is_named(parts):
    with pytest.raises(KeyError, match="no tensor other among the 2"):
        SavedTensors(parts).read("other")


def test_one_process_writes_an_ordinary_file_and_the_others_of_ddp_nothing(tmp_path):
    main, other = (Ranks(rank=rank, world=2, device=torch.device("cpu")) for rank in (0, 1))
    assert save_slices(tmp_path, "model", {"weight": WHOLE}, ranks=other) is None
    path = save_slices(tmp_path, "model", {"weight": WHOLE}, ranks=main)
    assert path == tmp_path / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        assert file.metadata() is None
