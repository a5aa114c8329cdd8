"""A checkpoint as the code before format 2 wrote it, made here by a small writer, resumes with the same bits."""

import hashlib
import json

import pytest
import safetensors.torch
import torch

from gristmill.train.interrupts import StopRequest
from gristmill.train.ranks import Ranks
from gristmill.train.trainer import Trainer

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
# `identity()` of the configuration and the model of `make_run()`, printed by that code
CONFIG = json.loads(
    '{"optim": {"lr_matrix": 0.02, "lr_embedding": 0.1, "lr_head": 0.003, "lr_norm": 0.003, "weight_decay": 0.0, '
    '"momentum": 0.95, "beta1": 0.9, "beta2": 0.95, "grad_clip": 1.0}, "schedule": {"warmup_steps": 2, "decay_ratio": '
    '0.65, "final_lr_ratio": 0.0}, "tokens": 384, "batch_rows": 4, "micro_rows": 2, "precision": "fp32", "compile": '
    '"auto", "seed": 0, "eval_every_steps": 3, "log_every_steps": 1, "max_skipped_steps": 3}'
)
MODEL = json.loads(
    '{"start": {"kind": "scratch"}, "family": "qwen3", "depth": 1, "width": 16, "heads": null, "kv_heads": null, '
    '"head_dim": 8, "ffn_width": null, "tie_embeddings": false, "rope_theta": 10000.0}'
)
RUN_DIGEST = "208079e1260b38e86fefe0259107e53f92635c6cfa7ba1615e8031a099be36d8"


def write_format_1(trainer, folder, run_digest):
    folder.mkdir(parents=True)
    weights = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    safetensors.torch.save_file(trainer.optimizers.state(), folder / "optimizer.safetensors")
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    known = ("step", "tokens", "skipped_steps", "loss")
    state = {name: value for name, value in trainer.state.model_dump().items() if name in known}
    (folder / "state.json").write_text(json.dumps({"state": state, "run_digest": run_digest, "files": files}, indent=2))


class StopAfter(StopRequest):
    def __init__(self, trainer, step):
        self.trainer, self.step = trainer, step

    @property
    def signal_number(self):
        return 15 if self.trainer.state.step == self.step else None


def test_the_digest_is_that_of_what_the_old_code_hashed():
    facts = [CONFIG, MODEL, "0" * 64, None]
    assert hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() == RUN_DIGEST


def test_a_checkpoint_of_the_first_format_resumes_identically(make_run, tmp_path):
    run = make_run(optim=CONFIG["optim"])
    straight = Trainer(run, tmp_path / "straight", ALONE)
    straight.out.mkdir()
    straight.train(StopRequest())

    stopped = Trainer(run, tmp_path / "stopped", ALONE)
    stopped.out.mkdir()
    stopped.train(StopAfter(stopped, 4))
    write_format_1(stopped, tmp_path / "resumed" / "checkpoints" / "step-00000004", RUN_DIGEST)
    resumed = Trainer(run, tmp_path / "resumed", ALONE)
    assert resumed.state.step == 4
    resumed.train(StopRequest())

    for mine, theirs in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    expected = straight.optimizers.state()
    for name, tensor in resumed.optimizers.state().items():
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("change", [{"seed": 1}, {"optim": {"kind": "adamw"}}, {"optim": {"newton_schulz": "fp32"}}])
def test_a_checkpoint_of_the_first_format_of_another_run_is_refused(make_run, tmp_path, change):
    write_format_1(Trainer(make_run(), tmp_path, ALONE), tmp_path / "checkpoints" / "step-00000004", RUN_DIGEST)
    with pytest.raises(ValueError, match="another configuration or other inputs"):
        Trainer(make_run(**change), tmp_path, ALONE)
