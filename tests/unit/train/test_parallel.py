"""Four processes in every layout against one process."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from several_runs import StopAt, run_all
from training import ALONE, logged

from gristmill.model.config import ModelConfig
from gristmill.schema import Resources
from gristmill.train.parallel import ParallelModel
from gristmill.train.ranks import Ranks
from gristmill.train.trainer import Trainer

HERE = Path(__file__).parent
STEPS = 12
LAYOUTS = {"ddp": 1, "fsdp": 1, "hybrid": 2}
MUON = {"kind": "muon", "newton_schulz": "fp32"}
SMALL = {"depth": 2, "width": 16, "head_dim": 6, "heads": 2}  # norms of 6 numbers: a fourth process holds none of them
MIXTURE = {"family": "qwen3_moe", "experts": 6, "experts_per_token": 2, "expert_width": 8}
VARIANTS: dict[str, tuple[dict, dict, bool]] = {
    "muon": (MUON, SMALL, False),
    "adamw": ({"kind": "adamw"}, SMALL | {"tie_embeddings": True}, True),
    "moe": (MUON, SMALL | MIXTURE, False),
    "moe_adamw": ({"kind": "adamw"}, SMALL | MIXTURE, False),
}
"""Settings of the optimizer, of the model, and whether activations are computed twice."""


@pytest.fixture
def run_file(make_run, tmp_path):
    """Write a run file for a layout and a variant; its path."""

    def write(layout: str, variant: str, *, micro_rows: int = 1) -> str:
        optim, model, twice = VARIANTS[variant]
        run = make_run(
            tokens=STEPS * 4 * 12, optim=optim | {"grad_clip": 0.5}, micro_rows=micro_rows, eval_every_steps=STEPS
        )
        resources = Resources.model_validate(
            {"threads": 1, "device": "cpu", "parallel": layout, "activation_checkpointing": twice}
        )
        path = tmp_path / f"{layout}-{variant}.json"
        path.write_text(
            run.model_copy(
                update={
                    "resources": resources,
                    "model": ModelConfig.model_validate(model),
                    "leave_checkpoints": True,
                }
            ).model_dump_json()
        )
        return str(path)

    return write


def under_torchrun(runs: list, processes: int, file: Path) -> None:
    file.write_text(json.dumps(runs))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run([*torchrun, str(HERE / "several_runs.py"), str(file)], check=True)


def exported(out: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(out / "model.safetensors")


@pytest.mark.integration
def test_four_processes_compute_what_one_does_in_every_layout_and_each_goes_on_from_the_other(run_file, tmp_path):
    def out(*name):
        return str(tmp_path / "-".join(name))

    together, alone_before, alone_after = [], [], []
    for variant in VARIANTS:
        alone_before.append([run_file("ddp", variant), out("one", variant), None, 1])
    alone_before.append([run_file("ddp", "muon"), out("grown"), 4, 1])
    for layout, nodes in LAYOUTS.items():
        for variant in VARIANTS:
            together.append([run_file(layout, variant), out(layout, variant), None, nodes])
        together.append([run_file(layout, "muon"), out(layout, "shrunk"), 4, nodes])
        alone_after.append([run_file(layout, "muon"), out(layout, "shrunk"), None, 1])
    together.append([run_file("fsdp", "muon"), out("grown"), 8, 1])
    together.append([run_file("hybrid", "muon"), out("grown"), None, 2])

    run_all(alone_before, ALONE)
    under_torchrun(together, 4, tmp_path / "runs.json")
    run_all(alone_after, ALONE)

    for done in {Path(run[1]) for run in together}:
        variant = done.name.split("-")[-1]
        expected = Path(out("one", variant if variant in VARIANTS else "muon"))
        assert len(logged(done, "loss")) == STEPS
        assert logged(done, "loss") == pytest.approx(logged(expected, "loss"), abs=1e-5), done.name
        theirs = exported(expected)
        assert exported(done).keys() == theirs.keys()
        for weight, tensor in exported(done).items():
            torch.testing.assert_close(tensor, theirs[weight], rtol=0, atol=2e-5, msg=f"{done.name}: {weight}")
        config, mine = (json.loads((folder / "config.json").read_text()) for folder in (expected, done))
        assert mine == config

    parts = sorted(path.name for path in (tmp_path / "hybrid-muon" / "checkpoints" / f"step-{STEPS:08d}").iterdir())
    assert parts == [
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("optimizer-00001-of-00002.safetensors", "optimizer-00002-of-00002.safetensors", "state.json"),
    ], "the second machine holds the same parts, and the first one writes them"


@pytest.mark.integration
def test_two_processes_give_the_bits_of_one_with_the_same_micro_batches(run_file, tmp_path):
    """Two summands have one sum, and the norm that clips has the same bits however the gradient is cut."""
    alone, together = (
        [
            [run_file(layout, variant, micro_rows=2), str(tmp_path / f"{processes}-{layout}-{variant}"), None, 1]
            for layout in layouts
            for variant in VARIANTS
        ]
        for processes, layouts in ((1, ["ddp"]), (2, ["ddp", "fsdp"]))
    )
    run_all(alone, ALONE)
    under_torchrun(together, 2, tmp_path / "runs.json")

    clipped = 0
    for done in (Path(run[1]) for run in together):
        expected = tmp_path / f"1-ddp-{done.name.split('-')[-1]}"
        for name in ("loss", "grad_norm"):
            assert logged(done, name) == logged(expected, name), (done.name, name)
        theirs = exported(expected)
        assert all(torch.equal(weight, theirs[name]) for name, weight in exported(done).items()), done.name
        clipped += sum(norm > 0.5 for norm in logged(done, "grad_norm"))
    assert clipped > STEPS, "else the test knows nothing of the norm"


def test_the_gradients_norm_is_the_nearest_float32_and_clipping_scales_by_it(make_run, tmp_path):
    trainer = Trainer(make_run(), tmp_path, ALONE)
    draws = torch.Generator().manual_seed(0)
    gradients = [torch.randn(weight.shape, generator=draws) for weight in trainer.model.parameters()]
    for weight, gradient in zip(trainer.model.parameters(), gradients, strict=True):
        weight.grad = gradient.clone()
    exact = math.sqrt(math.fsum(value * value for gradient in gradients for value in gradient.flatten().tolist()))
    assert trainer.parallel.clip_gradients(0.5) == np.float32(exact)
    for weight, gradient in zip(trainer.model.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient * (0.5 / exact), rtol=2e-6, atol=0)


def test_activation_checkpointing_changes_no_bit(make_run, tmp_path):
    weights = []
    for recompute in (False, True):
        run = make_run()
        resources = run.resources.model_copy(update={"activation_checkpointing": recompute})
        trainer = Trainer(run.model_copy(update={"resources": resources}), tmp_path / str(recompute), ALONE)
        trainer.out.mkdir()
        trainer.train(StopAt(trainer, None))
        weights.append([weight.detach() for weight in trainer.model.parameters()])
    assert all(torch.equal(kept, computed_again) for kept, computed_again in zip(*weights, strict=True))


@pytest.mark.parametrize("nodes", [1, 4])
def test_hybrid_needs_something_to_cut_and_something_to_copy(make_run, tmp_path, nodes):
    model = Trainer(make_run(), tmp_path, ALONE).model
    ranks = Ranks(rank=0, world=4, device=torch.device("cpu"), nodes=nodes)
    with pytest.raises(ValueError, match=f"4 processes on {nodes} machine"):
        ParallelModel(model, ranks, Resources(parallel="hybrid"), compiled=False)
