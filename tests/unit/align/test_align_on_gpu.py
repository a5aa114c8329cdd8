"""Every alignment on a GPU: what is measured before training is what the CPU measures, and training learns.

`pytest -m gpu`; skipped where there is no GPU.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gristmill.align.adapter_config import Adapter
from gristmill.align.config import DpoConfig, KtoConfig, OrpoConfig, RewardModelConfig, SftConfig
from gristmill.align.dpo import run_dpo
from gristmill.align.kto import run_kto
from gristmill.align.online import config as kinds
from gristmill.align.online.config import GrpoConfig, MonitorConfig, OnlineConfig, PpoConfig, ReinforceConfig
from gristmill.align.online.run import run_online
from gristmill.align.reward_model import run_reward_model
from gristmill.align.sft import run_sft
from gristmill.report import Report
from gristmill.schema import Resources

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
GPU, CPU = Resources(threads=1, device="cuda"), Resources(threads=1, device="cpu")
ROWS: dict[str, Any] = {"epochs": 6, "batch_rows": 4, "micro_rows": 4, "lr": 1e-3}
ONLINE: dict[str, Any] = {
    "rewards": [kinds.PatternReward(pattern="(?s).*e.*")],
    "steps": 24,
    "prompts_per_step": 4,
    "group_size": 6,
    "max_new_tokens": 8,
    "lr": 1e-2,
    "eval_every_steps": 8,
    "held_out_prompts": 4,
    "monitors": MonitorConfig(max_kl=None, max_repetition=1.0),
}


@pytest.fixture(scope="module")
def judge(tiny_model: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judge") / "out"
    out.mkdir()
    run_reward_model(tiny_model, examples, out, RewardModelConfig(**ROWS), CPU)
    return out


def on_both(folder: Path, run: Any) -> dict[str, Report]:
    found = {}
    for resources in (GPU, CPU):
        out = folder / resources.device
        out.mkdir()
        found[resources.device] = run(out, resources)
    return found


def test_sft_measures_as_on_the_cpu_and_learns(tiny_model: Path, examples: Path, tmp_path: Path):
    found = on_both(tmp_path, lambda out, on: run_sft(tiny_model, examples, out, SftConfig(**ROWS), on))
    name = "held_out_nats_per_token"
    gpu, cpu = found["cuda"].metrics, found["cpu"].metrics
    assert gpu[f"{name}_before"] == pytest.approx(cpu[f"{name}_before"], rel=1e-5)
    assert gpu[name] == pytest.approx(cpu[name], rel=1e-2)
    assert gpu[name] < gpu[f"{name}_before"]


@pytest.mark.parametrize("kind", ["lora", "dora", "qlora"])
def test_adapters_learn(kind: Any, tiny_model: Path, examples: Path, tmp_path: Path):
    if kind == "qlora" and find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    config = SftConfig(**{**ROWS, "lr": 1e-2}, adapter=Adapter(kind=kind, rank=4))
    metrics = run_sft(tiny_model, examples, tmp_path, config, GPU).metrics
    assert metrics["held_out_nats_per_token"] < 0.95 * metrics["held_out_nats_per_token_before"]
    assert all(tensor.dtype is torch.float32 for tensor in load_file(tmp_path / "model.safetensors").values())


def test_a_reward_model_scores_as_on_the_cpu(tiny_model: Path, examples: Path, tmp_path: Path):
    found = on_both(
        tmp_path, lambda out, on: run_reward_model(tiny_model, examples, out, RewardModelConfig(**ROWS), on)
    )
    gpu, cpu = (load_file(tmp_path / device / "model.safetensors")["score.weight"] for device in found)
    assert found["cuda"].metrics["held_out_accuracy"] == found["cpu"].metrics["held_out_accuracy"] == 1.0
    assert torch.allclose(gpu, cpu, atol=1e-2)


@pytest.mark.parametrize("config", [DpoConfig(**ROWS), DpoConfig(**ROWS, loss="ipo"), OrpoConfig(**ROWS)])
def test_pairs(config: Any, tiny_model: Path, examples: Path, judge: Path, tmp_path: Path):
    found = on_both(tmp_path, lambda out, on: run_dpo(tiny_model, examples, judge, out, config, on))
    gpu, cpu = found["cuda"].metrics, found["cpu"].metrics
    assert set(gpu) == set(cpu)
    assert gpu["held_out_preferred_before"] == cpu["held_out_preferred_before"]
    assert gpu["held_out_preferred"] == cpu["held_out_preferred"]


def test_kto(tiny_model: Path, examples: Path, judge: Path, tmp_path: Path):
    found = on_both(tmp_path, lambda out, on: run_kto(tiny_model, examples, judge, out, KtoConfig(**ROWS), on))
    assert set(found["cuda"].metrics) == set(found["cpu"].metrics)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("algorithm", [GrpoConfig, ReinforceConfig, PpoConfig])
def test_sampled_answers_spell_what_is_rewarded(
    algorithm: type[OnlineConfig], precision: Any, tiny_model: Path, examples: Path, tmp_path: Path
):
    config = algorithm(**ONLINE, precision=precision)
    metrics = run_online(tiny_model, examples, None, tmp_path, config, GPU).metrics
    assert metrics["held_out_reward"] > metrics["held_out_reward_before"] + 0.2


def test_the_first_answers_are_those_of_the_cpu(tiny_model: Path, examples: Path, tmp_path: Path):
    config = GrpoConfig(**{**ONLINE, "steps": 1, "lr": 1e-9})
    on_both(tmp_path, lambda out, on: run_online(tiny_model, examples, None, out, config, on))
    assert (tmp_path / "cuda" / "samples.jsonl").read_text() == (tmp_path / "cpu" / "samples.jsonl").read_text()


def test_one_seed_is_one_training_on_a_gpu_too(tiny_model: Path, examples: Path, tmp_path: Path):
    config = GrpoConfig(**{**ONLINE, "steps": 3})
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_online(tiny_model, examples, None, tmp_path / name, config, GPU)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
