"""A model is measured on a GPU as on the CPU. `pytest -m gpu`; skipped where there is no GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.generation import answers
from gristmill.evaluate.run import run_evaluate
from gristmill.evaluate.sampling_config import Sampling
from gristmill.evaluate.speed_config import SpeedConfig
from gristmill.schema import Resources

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_metrics_and_samples_are_those_of_the_cpu(tiny_model: Path, examples: Path, tmp_path: Path):
    config = EvaluateConfig(samples=["What does `list.sort` do?"], sample_tokens=16)
    found = {}
    for device in ("cpu", "cuda"):
        (tmp_path / device).mkdir()
        resources = Resources(threads=1, device=device)
        found[device] = run_evaluate(tiny_model, None, examples, None, tmp_path / device, config, resources).metrics
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-4)
    assert (tmp_path / "cuda/samples.jsonl").read_text() == (tmp_path / "cpu/samples.jsonl").read_text()


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0), Sampling(temperature=0.7, top_p=0.9)])
def test_a_seed_draws_what_it_draws_on_the_cpu(tiny_model: Path, sampling: Sampling):
    prompts = [[0, 2, 9, 40], [0, 7], [0, 7], [0, 50, 51, 52, 53]]
    found = []
    for device in ("cpu", "cuda"):
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
        model.to(device)
        asked: dict[str, Any] = {"max_new_tokens": 24, "stop_ids": (3,), "sampling": sampling, "seeds": [1, 2, 3, 4]}
        found.append(answers(model, prompts, **asked))
    assert found[0] == found[1]


def test_speed_is_measured_there(tiny_model: Path, examples: Path, tmp_path: Path):
    config = EvaluateConfig(samples=[], speed=SpeedConfig(formats=["fp32", "bf16"], new_tokens=8, repeats=1))
    resources = Resources(threads=1, device="cuda")
    metrics = run_evaluate(tiny_model, None, examples, None, tmp_path, config, resources).metrics
    assert 0 < metrics["speed_bf16_peak_megabytes"] < metrics["speed_fp32_peak_megabytes"] < 100
