"""Masks and the balance of experts across processes: what two of them compute is what one computes."""

import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.metrics import read_metrics
from gristmill.schema import Resources

pytestmark = pytest.mark.integration
PROGRAM = ["-m", "gristmill.train.pretrain"]
ROOT = Path(__file__).parents[3]
OF_THE_MACHINE = {
    *("tokens_per_s", "data_wait_ratio", "other_ratio", "elapsed_s", "mfu", "energy_j"),
    *("memory_mib", "memory_peak_mib"),
}
"""What a run logs of clocks and memory, which no two runs share."""


@pytest.fixture
def losses_of(run_of, tmp_path):
    """What metrics.jsonl says of each step of a run by so many processes."""

    def program(name: str, family: str, *, processes: int, micro_rows: int, parallel: str) -> dict[str, list[float]]:
        exact = {"newton_schulz": "fp32"}  # bfloat16 turns the last bit of a sum into a visible difference
        run = run_of(
            family, {"balance_weight": 1.0} if family == "qwen3_moe" else None, micro_rows=micro_rows, optim=exact
        )
        resources = Resources.model_validate({"threads": 1, "device": "cpu", "parallel": parallel})
        run = run.model_copy(update={"resources": resources})
        config = tmp_path / f"{name}.yaml"
        config.write_text(run.model_dump_json())
        torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
        command = [sys.executable, *torchrun, *PROGRAM, "--config", str(config), "--out", str(tmp_path / name)]
        subprocess.run(command, cwd=ROOT, check=True)
        rows = [row for row in read_metrics(tmp_path / name / "metrics.jsonl") if "loss" in row]
        return {name: [row[name] for row in rows] for name in rows[0] if name not in OF_THE_MACHINE | {"step"}}

    return program


@pytest.mark.parametrize(
    ("family", "parallel"), [("qwen3_moe", "ddp"), ("qwen3_moe", "fsdp"), ("bert", "ddp"), ("gpt2", "fsdp")]
)
def test_two_processes_compute_the_losses_of_one(losses_of, family, parallel):
    one = losses_of("one", family, processes=1, micro_rows=4, parallel="auto")
    two = losses_of("two", family, processes=2, micro_rows=1, parallel=parallel)
    assert len(one["loss"]) == 8
    assert ("balance_loss" in one) == (family == "qwen3_moe")
    for name, values in one.items():
        assert two[name] == pytest.approx(values, abs=1e-5, rel=1e-5), name
