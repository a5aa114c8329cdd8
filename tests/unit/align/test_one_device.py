"""A training on rows computes on the device it was told, and on no other that the machine has. Not run on a GPU."""

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments
from trl import DPOConfig, KTOConfig, RewardConfig, SFTConfig

from gristmill.align import config
from gristmill.align.trl_adapter import trainer_arguments


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with three GPUs, as far as torch tells; the devices that were made the current one."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(torch.device(device)))
    return chosen


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
@pytest.mark.parametrize("kind", [SFTConfig, RewardConfig, DPOConfig, KTOConfig, TrainingArguments])
def test_a_step_has_as_many_rows_as_configured_on_the_device_that_was_named(
    kind: type[TrainingArguments], name: str, chosen: list[torch.device], tmp_path: Path
):
    settings = config.SftConfig(batch_rows=8, micro_rows=4)
    arguments = trainer_arguments(kind, settings, tmp_path, torch.device(name))
    wanted = torch.device("cuda", torch.device(name).index or 0)
    assert (arguments.n_gpu, arguments.device, chosen[-1]) == (1, wanted, wanted)
    assert arguments.train_batch_size * arguments.gradient_accumulation_steps == 8
    assert getattr(arguments, "max_length", None) is None
    assert arguments.seed == settings.seed


def test_without_a_gpu_it_computes_on_the_cpu(tmp_path: Path):
    arguments = trainer_arguments(SFTConfig, config.SftConfig(), tmp_path, torch.device("cpu"))
    assert (arguments.device, arguments.n_gpu) == (torch.device("cpu"), 0)
