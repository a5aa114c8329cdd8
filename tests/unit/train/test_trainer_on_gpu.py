"""Pretraining on a GPU beside the CPU, and stopped beside straight. `pytest -m gpu`; skipped where there is no GPU."""

import pytest
import torch
import torch._dynamo
from test_families_train import FAMILIES, LONG_ENOUGH
from training import ALONE, StopBefore, finished, logged

from gristmill.schema import Resources
from gristmill.train.interrupts import StopRequest
from gristmill.train.ranks import Ranks, joined_ranks
from gristmill.train.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.fixture
def gpu():
    """The process as a training finds it: torch told to compute the same bits every time."""
    torch._dynamo.reset()  # else the ninth shape of this process runs uncompiled, without a word
    strict = torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
    with strict, joined_ranks(Resources(threads=1, device="cuda")) as ranks:
        yield ranks
    torch.use_deterministic_algorithms(False)


def trained(run, out, ranks: Ranks, *, stop: StopRequest | None = None) -> Trainer:
    out.mkdir(exist_ok=True)
    trainer = Trainer(run, out, ranks)
    trainer.train(stop or StopRequest())
    return trainer


@pytest.mark.parametrize("masking", [False, True], ids=["crossing", "apart"])
@pytest.mark.parametrize("compiled", ["off", "on"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_losses_are_those_of_the_cpu(run_of, tmp_path, gpu, family, compiled, masking):
    run = run_of(family, document_masking=masking and family != "bert", compile=compiled)
    trained(run, tmp_path / "gpu", gpu)
    trained(run_of(family, document_masking=masking and family != "bert"), tmp_path / "cpu", ALONE)
    # Muon orthogonalizes in bfloat16: later losses go apart where the first do not
    assert logged(tmp_path / "gpu", "loss")[:2] == pytest.approx(logged(tmp_path / "cpu", "loss")[:2], rel=1e-4)
    assert logged(tmp_path / "gpu", "loss")[-1] == pytest.approx(logged(tmp_path / "cpu", "loss")[-1], rel=2e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_in_bf16_and_its_folder_is_read_on_the_cpu(run_of, tmp_path, gpu, family):
    trainer = trained(
        run_of(family, **LONG_ENOUGH[family] | {"precision": "auto", "eval_every_steps": 1000}), tmp_path, gpu
    )
    trainer.finish()
    losses = logged(tmp_path, "loss")
    assert trainer.precision == "bf16"
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]
    assert logged(tmp_path, "mfu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", ["off", "on"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_run_ends_with_the_same_bits(run_of, tmp_path, gpu, family, compiled, precision):
    # 3 rows by 2: a step has two shapes, and validation a third
    run = run_of(family, compile=compiled, precision=precision, batch_rows=3, sample_every_steps=2)
    straight = trained(run, tmp_path / "straight", gpu)
    trained(run, tmp_path / "stopped", gpu, stop=StopBefore(3))
    torch._dynamo.reset()  # as in a new process
    stopped = trained(run, tmp_path / "stopped", gpu)
    assert logged(tmp_path / "stopped", "loss") == logged(tmp_path / "straight", "loss")
    for one, other in zip(straight.model.parameters(), stopped.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_the_cpu_goes_on_on_the_gpu(run_of, tmp_path, gpu):
    trained(run_of("llama"), tmp_path / "moved", ALONE, stop=StopBefore(3))
    trained(run_of("llama"), tmp_path / "moved", gpu)
    finished(run_of("llama"), tmp_path / "cpu")
    assert logged(tmp_path / "moved", "loss")[:4] == pytest.approx(logged(tmp_path / "cpu", "loss")[:4], rel=1e-4)


@pytest.mark.parametrize("compiled", ["off", "on"])
def test_activations_computed_twice_give_the_same_bits(run_of, tmp_path, gpu, compiled):
    run = run_of("llama", compile=compiled, precision="bf16")
    kept = trained(run, tmp_path / "kept", gpu)
    torch._dynamo.reset()
    sparing = run.model_copy(update={"resources": run.resources.model_copy(update={"activation_checkpointing": True})})
    again = trained(sparing, tmp_path / "again", gpu)
    assert all(torch.equal(*pair) for pair in zip(kept.model.parameters(), again.model.parameters(), strict=True))
