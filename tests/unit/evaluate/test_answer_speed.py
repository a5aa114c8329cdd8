"""Speed and memory of a tiny model, in processes of their own: that there are numbers, not which."""

from pathlib import Path

import pytest

from gristmill.evaluate.speed import measure_speed
from gristmill.evaluate.speed_config import SpeedConfig
from gristmill.export.llama import installed
from gristmill.schema import Resources

pytestmark = pytest.mark.integration  # each process imports torch
CPU = Resources(threads=1, device="cpu")


@pytest.mark.parametrize(
    "kind", ["bf16", pytest.param("int8", marks=pytest.mark.skipif(not installed(), reason="needs gristmill[llama]"))]
)
def test_a_format_is_timed_in_a_process_of_its_own(tiny_model: Path, kind):
    asked = SpeedConfig(formats=[kind], prompt_tokens=16, new_tokens=8, repeats=1)
    metrics, facts = measure_speed(tiny_model, asked, CPU)
    assert metrics.keys() == {f"speed_{kind}_{name}" for name in ("first_token_ms", "tokens_per_s", "peak_megabytes")}
    assert all(value > 0 for value in metrics.values())
    assert 20 < metrics[f"speed_{kind}_peak_megabytes"] < 4000  # an interpreter at least
    assert facts["speed"]["threads"] == 1


def test_a_measurement_that_fails_says_of_what(tmp_path: Path):
    with pytest.raises(RuntimeError, match=r"the speed of fp32 could not be measured: .*"):
        measure_speed(tmp_path, SpeedConfig(prompt_tokens=1, repeats=1), CPU)
