import pytest

from gristmill.schema import Resources
from gristmill.train import speed
from gristmill.train.speed import EarlierRun, core_peak_flops, expected_speed

RUNS = [
    EarlierRun("checkpoint/pretrain-a", parameters=1_000_000, tokens=500_000, seconds=50.0),
    EarlierRun("checkpoint/pretrain-b", parameters=3_000_000, tokens=500_000, seconds=100.0),
    EarlierRun("checkpoint/pretrain-c", parameters=900_000_000, tokens=10**9, seconds=1.0),
]


def asked(earlier, **resources):
    return expected_speed(
        earlier, Resources(**resources), parameters=2_000_000, flops_per_token=10_000_000, precision="bf16"
    )


def test_the_run_of_the_most_similar_size_says_how_fast_this_one_is():
    # 5,000 tokens/s with 3 million parameters: 7,500 with 2 million
    assert asked(RUNS).tokens_per_s == pytest.approx(7500)
    assert "pretrain-b" in asked(RUNS).basis


def test_a_gpu_that_is_known_does_a_share_of_its_peak(monkeypatch):
    monkeypatch.setattr(speed, "_gpu_name", lambda: "NVIDIA A100-SXM4-80GB")
    assert asked(RUNS[2:], processes=2).tokens_per_s == pytest.approx(0.35 * 2 * 312e12 / 1e7)


def test_a_gpu_that_is_not_known_has_no_speed(monkeypatch):
    monkeypatch.setattr(speed, "_gpu_name", lambda: "Voodoo 3")
    assert asked([]) == speed.Speed(None, "no peak is known of Voodoo 3")
    monkeypatch.setattr(speed, "_gpu_name", lambda: None)
    assert asked([], device="cuda").tokens_per_s is None


@pytest.mark.parametrize("device", ["cpu", "cuda", "auto"])
def test_a_stated_peak_is_that_of_each_process(device):
    speed_of_it = asked([], device=device, threads=8, processes=2, peak_tflops=0.5)
    assert speed_of_it.tokens_per_s == pytest.approx(0.35 * 2 * 0.5e12 / 1e7)
    assert "resources.peak_tflops" in speed_of_it.basis


def test_on_a_cpu_the_peak_of_a_core_is_measured(monkeypatch):
    monkeypatch.setattr(speed, "core_peak_flops", lambda: 1e11)
    assert asked([], device="cpu", threads=2).tokens_per_s == pytest.approx(2 * 1e11 / 1e7)


def test_a_core_does_between_a_billion_and_ten_trillion_operations_a_second():
    assert 1e9 < core_peak_flops() < 1e13
