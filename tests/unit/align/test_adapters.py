"""LoRA and DoRA: what is trained, saved and merged; PEFT alone reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from gristmill.align.adapter_config import Adapter
from gristmill.align.config import DpoConfig, RewardModelConfig, SftConfig
from gristmill.align.dpo import run_dpo
from gristmill.align.reward_model import run_reward_model
from gristmill.align.sft import run_sft
from gristmill.config import PipelineConfig
from gristmill.evaluate.checkpoints import load_model
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
IDS = torch.tensor([[0, 2, 9, 40, 41, 42, 3, 2, 60, 61]])


def sft_config(adapter: Adapter, **settings: Any) -> SftConfig:
    return SftConfig(adapter=adapter, epochs=4, batch_rows=4, micro_rows=2, lr=1e-2, **settings)


def tuned(model: Path, examples: Path, out: Path, adapter: Adapter, **settings: Any) -> dict[str, float]:
    out.mkdir()
    return run_sft(model, examples, out, sft_config(adapter, **settings), CPU).metrics


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.fixture(scope="module")
def lora(tiny_model: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "lora"
    tuned(tiny_model, examples, out, Adapter(rank=4))
    return out


@pytest.fixture(scope="module")
def dora(tiny_model: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "dora"
    tuned(tiny_model, examples, out, Adapter(kind="dora", rank=4))
    return out


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_merged_model_and_the_adapter_beside_its_base_give_the_same_logits(
    kind: str, tiny_model: Path, request: pytest.FixtureRequest
):
    folder = request.getfixturevalue(kind)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    start = logits(base)
    beside = PeftModel.from_pretrained(base, str(folder / "adapter"))
    merged = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(logits(beside), logits(merged), atol=1e-5)
    assert not torch.allclose(start, logits(merged), atol=1e-2)
    assert any("lora_magnitude" in name for name, _ in beside.named_parameters()) == (kind == "dora")


def test_an_adapter_is_small_and_names_its_base_without_a_machines_path(lora: Path, tiny_model: Path):
    assert sorted(path.name for path in (lora / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    settings = json.loads((lora / "adapter/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == tiny_model.name
    weights = load_file(lora / "adapter/adapter_model.safetensors")
    # 7 matrices in each of 2 layers, A and B each: rank × (inputs + outputs)
    sizes = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 64), (32, 64), (64, 32)]
    assert sum(weight.numel() for weight in weights.values()) == 2 * sum(4 * (a + b) for a, b in sizes)


def test_what_has_no_adapter_stays_as_it_was(lora: Path, tiny_model: Path):
    before, after = load_file(tiny_model / "model.safetensors"), load_file(lora / "model.safetensors")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.equal(weight, after[name]) == (not name.endswith("proj.weight")), name


def test_several_adapters_stand_beside_one_base(lora: Path, dora: Path, tiny_model: Path):
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), str(lora / "adapter"), adapter_name="lora"
    )
    model.load_adapter(str(dora / "adapter"), adapter_name="dora")
    for name, folder in (("lora", lora), ("dora", dora), ("lora", lora)):
        model.set_adapter(name)
        assert torch.allclose(logits(model), logits(AutoModelForCausalLM.from_pretrained(folder)), atol=1e-5)


def test_the_same_run_twice_writes_the_same_adapter(lora: Path, tiny_model: Path, examples: Path, tmp_path: Path):
    tuned(tiny_model, examples, tmp_path / "again", Adapter(rank=4))
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "model.safetensors"):
        assert (lora / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_unmerged_the_adapter_is_alone_and_says_so_where_a_model_is_asked_for(
    lora: Path, tiny_model: Path, examples: Path, tmp_path: Path
):
    metrics = tuned(tiny_model, examples, tmp_path / "alone", Adapter(rank=4, merge=False))
    assert metrics["held_out_nats_per_token_change_ci_high"] < 0
    assert not (tmp_path / "alone/model.safetensors").exists()
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "alone" / name).read_bytes() == (lora / name).read_bytes()
    with pytest.raises(ValueError, match="an adapter without the model it belongs to"):
        load_model(tmp_path / "alone", torch.device("cpu"))


def test_a_pipeline_refuses_an_adapter_that_is_not_merged():
    sources = [{"kind": "python_docs", "name": "docs"}]
    with pytest.raises(ValueError, match=r"sft\.adapter\.merge=false"):
        PipelineConfig.model_validate(
            {"ingest": {"sources": sources}, "sft": {"adapter": {"merge": False, "kind": "lora"}}}
        )


def test_four_bits_without_a_gpu_are_refused_with_the_choices(tiny_model: Path, examples: Path, tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"needs a CUDA device, and this run is on cpu; choose adapter\.kind: lora or dora"
    ):
        tuned(tiny_model, examples, tmp_path / "out", Adapter(kind="qlora"))


def test_only_the_named_matrices_change(tiny_model: Path, examples: Path, tmp_path: Path):
    tuned(tiny_model, examples, tmp_path / "out", Adapter(rank=4, targets=["q_proj"]))
    before, after = load_file(tiny_model / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    changed = {name.rsplit(".", 2)[-2] for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == {"q_proj"}


def test_a_reward_model_learns_with_an_adapter_and_its_head_is_saved_with_it(
    tiny_model: Path, examples: Path, tmp_path: Path
):
    config = RewardModelConfig(adapter=Adapter(rank=4), epochs=10, batch_rows=4, micro_rows=4, lr=1e-2)
    report = run_reward_model(tiny_model, examples, tmp_path, config, CPU)
    assert report.metrics["held_out_accuracy"] == 1.0
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1, pad_token_id=1)
    beside = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    assert torch.allclose(logits(beside), logits(merged), atol=1e-5)


def test_dpo_learns_with_an_adapter_from_the_reference_without_it(tiny_model: Path, examples: Path, tmp_path: Path):
    config = DpoConfig(adapter=Adapter(rank=4), epochs=6, batch_rows=4, micro_rows=4, lr=1e-2, log_every_steps=1)
    report = run_dpo(tiny_model, examples, None, tmp_path, config, CPU)
    assert report.metrics["held_out_reward_accuracy"] == 1.0
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.6931, abs=1e-4)
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(tmp_path / "adapter"))
    assert torch.allclose(logits(beside), logits(AutoModelForCausalLM.from_pretrained(tmp_path)), atol=1e-5)


@pytest.mark.parametrize("stage", ["reward_model", "dpo"])
def test_an_adapters_dropout_is_at_work(stage: str, tiny_model: Path, examples: Path, tmp_path: Path):
    """TRL turns every dropout off, if it is not told otherwise."""
    weights = []
    for dropout in (0.0, 0.5):
        out = tmp_path / f"{dropout}"
        out.mkdir()
        shared: Any = {"adapter": Adapter(dropout=dropout), "epochs": 1, "batch_rows": 4, "micro_rows": 4, "lr": 1e-2}
        if stage == "dpo":
            run_dpo(tiny_model, examples, None, out, DpoConfig(**shared), CPU)
        else:
            run_reward_model(tiny_model, examples, out, RewardModelConfig(**shared), CPU)
        weights.append(load_file(out / "model.safetensors"))
    assert any(not torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
