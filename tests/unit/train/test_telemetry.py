"""What a logged step says: each number against arithmetic of its own."""

import math
import re
import time
from pathlib import Path

import pytest
import torch
from training import StopBefore, finished, logged, started
from transformers import Qwen3Config, Qwen3ForCausalLM

from gristmill.metrics import read_metrics
from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.train.energy import EnergyMeter
from gristmill.train.peaks import PEAK_TFLOPS, peak_of_name
from gristmill.train.precision import of_cpu, resolved_precision
from gristmill.train.telemetry import Telemetry, batch_bytes, role_norms
from gristmill.train.utilization import flops_per_token, peak_flops

CPU = torch.device("cpu")


def telemetry(tmp_path: Path, **fields) -> Telemetry:
    given = {"flops_per_token": 1e6, "peak_flops": None, "energy": EnergyMeter(powercap=tmp_path / "none"), **fields}
    return Telemetry(device=CPU, **given)


def test_time_is_shared_out_between_data_computing_and_the_rest(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def pass_s(seconds: float) -> None:
        clock[0] += seconds

    measured = telemetry(tmp_path, peak_flops=1e9)
    with measured.waiting_for_data():
        pass_s(1.0)
    with measured.computing():
        pass_s(2.5)
    pass_s(0.5)
    measured.trained(800)
    row = measured.row()
    assert (row["data_wait_ratio"], row["other_ratio"]) == (0.25, 0.125)
    assert row["tokens_per_s"] == 200.0
    assert row["mfu"] == 200.0 * 1e6 / 1e9
    assert row["elapsed_s"] == 4.0
    pass_s(2.0)
    measured.trained(100)
    assert measured.row() | {"memory_mib": 0, "memory_peak_mib": 0} == {
        "tokens_per_s": 50.0,
        "data_wait_ratio": 0.0,
        "other_ratio": 1.0,
        "elapsed_s": 6.0,
        "mfu": 0.05,
        "memory_mib": 0,
        "memory_peak_mib": 0,
    }


def test_without_a_known_peak_there_is_no_share_of_it(tmp_path):
    row = telemetry(tmp_path).row()
    assert row.keys() == {
        *("tokens_per_s", "data_wait_ratio", "other_ratio", "elapsed_s", "memory_mib", "memory_peak_mib")
    }
    assert row["memory_peak_mib"] >= 0.9 * row["memory_mib"] > 50


def test_time_and_energy_go_on_where_an_earlier_part_of_the_run_stopped(tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    counter, end = tmp_path / "intel-rapl:0" / "energy_uj", tmp_path / "intel-rapl:0" / "max_energy_range_uj"
    counter.write_text("5000000\n")
    end.write_text("9000000\n")
    measured = telemetry(tmp_path, before={"elapsed_s": 100.0, "energy_j": 40.0}, energy=EnergyMeter(powercap=tmp_path))
    counter.write_text("8000000\n")
    row = measured.row()
    assert row["energy_j"] == 43.0
    assert 100.0 <= row["elapsed_s"] < 110.0
    counter.write_text("1000000\n")  # it began again at 0
    assert measured.row()["energy_j"] == 45.0


def test_energy_counts_packages_once_and_is_absent_where_it_cannot_be_read(tmp_path):
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "package-1")):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(name)
        (tmp_path / zone / "energy_uj").write_text("0")
    meter = EnergyMeter(powercap=tmp_path)
    for zone in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        (tmp_path / zone / "energy_uj").write_text("2000000")
    assert meter.joules() == 4.0
    assert EnergyMeter(powercap=tmp_path / "nothing").joules() is None


def test_a_device_is_known_by_the_longest_name_that_fits():
    assert peak_of_name("NVIDIA A100-SXM4-80GB", precision="bf16") == 312e12
    assert peak_of_name("NVIDIA H100 PCIe", precision="bf16") == 756e12
    assert peak_of_name("NVIDIA H100 80GB HBM3", precision="fp32") == pytest.approx(66.9e12)
    assert peak_of_name("NVIDIA L40S", precision="bf16") == 362e12
    assert peak_of_name("NVIDIA L40", precision="bf16") is None
    assert peak_of_name("NVIDIA A10G", precision="bf16") is None
    assert all(bf16 > fp32 for bf16, fp32 in PEAK_TFLOPS.values())


def test_a_stated_peak_stands_for_any_device():
    assert peak_flops(CPU, precision="bf16") is None
    assert peak_flops(CPU, precision="bf16", stated_tflops=0.5) == 0.5e12


def new_model(**fields) -> Qwen3ForCausalLM:
    config = ModelConfig.model_validate({"depth": 2, "width": 32, "head_dim": 8, **fields})
    return build_model(config, vocab_size=50, max_seq_len=16, bos_id=1, eos_id=0, pad_id=2, seed=0)  # type: ignore


@pytest.mark.parametrize("tied", [False, True])
def test_flops_of_a_token_are_those_of_every_product(tied):
    model, T = new_model(tie_embeddings=tied), 16
    sizes: Qwen3Config = model.config
    width, ffn, attention = 32, sizes.intermediate_size, sizes.num_attention_heads * 8
    products = 2 * (4 * width * attention + 3 * width * ffn) + 50 * width
    # forward: 2 FLOPs a weight, and queries times keys, and weights times values; backward: twice that
    assert flops_per_token(model, T) == 3 * (2 * products + 2 * 2 * 2 * T * attention)


def test_flops_of_a_mixture_are_those_of_the_active_experts():
    dense, moe = new_model(), new_model(family="qwen3_moe")
    sizes = moe.config
    inactive = sum(w.numel() for n, w in moe.named_parameters() if ".experts." in n) * (
        1 - sizes.num_experts_per_tok / sizes.num_experts
    )
    looked_up = sum(w.numel() for n, w in moe.named_parameters() if "embed_tokens" in n or w.ndim < 2)
    weights = sum(w.numel() for w in moe.parameters()) - inactive - looked_up
    heads = sizes.num_attention_heads * sizes.head_dim
    assert flops_per_token(moe, 16) == pytest.approx(6 * weights + 12 * 2 * heads * 16)
    assert flops_per_token(moe, 16) > flops_per_token(dense, 16) / 4


def test_norms_by_role_make_the_whole_norm():
    model = new_model()
    tokens = torch.arange(16)[None]
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    model(input_ids=tokens, labels=tokens).loss.backward()
    norms = role_norms(model)
    assert norms.keys() == {"grad_norm_matrix", "grad_norm_embedding", "grad_norm_head", "grad_norm_norm"}
    whole = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]).norm()
    assert math.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(whole.item(), rel=1e-5)
    head = model.lm_head.weight.grad
    assert head is not None
    assert norms["grad_norm_head"] == pytest.approx(head.norm().item(), rel=1e-6)


def test_bytes_of_a_batch_leave_out_what_does_not_count():
    assert batch_bytes(torch.tensor([[1, 2, -100], [2, -100, 0]]), torch.tensor([0, 3, 5])) == 3 + 5 + 5


def test_bf16_is_for_processors_that_multiply_it():
    assert of_cpu({"avx512_bf16": True, "amx_bf16": False}) == "bf16"
    assert of_cpu({"amx_bf16": True}) == "bf16"
    assert of_cpu({"bf16": True}) == "bf16"  # ARM
    assert of_cpu({"avx512_f": True, "avx512_bf16": False, "avx2": True}) == "fp32"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    expected = "bf16" if re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) else "fp32"
    assert resolved_precision("auto", CPU) == expected
    assert resolved_precision("fp32", CPU) == "fp32"


NAMES = {
    *("step", "loss", "train_bits_per_byte", "grad_norm", "tokens", "epoch"),
    *("grad_norm_matrix", "grad_norm_embedding", "grad_norm_head", "grad_norm_norm"),
    *("lr_matrix", "lr_embedding", "lr_head", "lr_norm"),
    *("tokens_per_s", "data_wait_ratio", "other_ratio", "elapsed_s", "memory_mib", "memory_peak_mib", "mfu"),
}


def test_a_run_logs_all_of_it_and_the_docs_name_all_of_it(make_run, tmp_path):
    run = make_run(eval_every_steps=3)
    run = run.model_copy(update={"resources": run.resources.model_copy(update={"peak_tflops": 0.1})})
    finished(run, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    steps = [row for row in rows if "loss" in row]
    assert all(row.keys() - {"energy_j"} == NAMES for row in steps)
    measured = [row for row in rows if "bits_per_byte" in row]
    assert [row["step"] for row in measured] == [3, 6, 8]
    by_language = {"bits_per_byte_language_en", "bits_per_byte_language_uk"}
    assert measured[0].keys() == {"step", "bits_per_byte", "epoch", "train_validation_gap"} | by_language
    docs = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", docs))
    assert NAMES | {"train_validation_gap", "energy_j", "device_memory_peak_mib", "bits_per_byte"} <= named | {"step"}


def test_the_gap_is_validation_less_what_was_trained_on_since_the_last_measurement(make_run, tmp_path):
    run = make_run(eval_every_steps=3)
    stopped = tmp_path / "stopped"
    assert not started(run, stopped).train(StopBefore(2))  # sums go through a checkpoint
    finished(run, stopped)
    finished(run, tmp_path / "straight")
    for out in (stopped, tmp_path / "straight"):
        rows = read_metrics(out / "metrics.jsonl")
        gap, bits = (
            next(row[name] for row in rows if name in row) for name in ("train_validation_gap", "bits_per_byte")
        )
        # a mean of three batches: a padded row gives one of them a little less weight
        mean = sum(logged(out, "train_bits_per_byte")[:3]) / 3
        assert gap == pytest.approx(bits - mean, abs=0.02)
    assert logged(stopped, "train_validation_gap") == logged(tmp_path / "straight", "train_validation_gap")


def test_time_goes_on_over_a_stop(make_run, tmp_path):
    assert not started(make_run(), tmp_path).train(StopBefore(3))
    before = logged(tmp_path, "elapsed_s")[-1]
    trainer = started(make_run(), tmp_path)
    trainer.train(StopBefore(1))
    assert logged(tmp_path, "elapsed_s")[-1] > before
