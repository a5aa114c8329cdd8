import json

import numpy as np
import pytest
import torch
from training import ALONE, StopBefore, finished, logged
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.evaluate.bits_per_byte import bits_per_byte
from gristmill.metrics import read_metrics
from gristmill.model import onednn
from gristmill.model.config import ModelConfig
from gristmill.report import Report
from gristmill.tokens.reader import TokenShards
from gristmill.train import objective as objective_module
from gristmill.train import trainer as trainer_module
from gristmill.train.interrupts import StopRequest
from gristmill.train.pretrain import main
from gristmill.train.ranks import Ranks
from gristmill.train.supervisor import TrainingDiverged
from gristmill.train.trainer import Trainer


def test_a_run_stopped_twice_ends_with_the_same_bits(make_run, tmp_path):
    run = make_run()
    straight = finished(run, tmp_path / "straight")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    for steps in (3, 2):
        assert not Trainer(run, stopped, ALONE).train(StopBefore(steps))
    assert finished(run, stopped) == straight
    assert logged(stopped, "loss") == logged(tmp_path / "straight", "loss")


def test_a_damaged_checkpoint_costs_steps_but_no_bits(make_run, tmp_path):
    run = make_run()
    straight = finished(run, tmp_path / "straight")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    assert not Trainer(run, stopped, ALONE).train(StopBefore(5))
    newest = max((stopped / "checkpoints").iterdir())
    (newest / "optimizer.safetensors").write_bytes(b"")
    assert finished(run, stopped) == straight
    assert [row["step"] for row in read_metrics(stopped / "metrics.jsonl") if "loss" in row] == list(range(1, 9))


def test_a_checkpoint_of_another_configuration_is_refused(make_run, tmp_path):
    assert not Trainer(make_run(), tmp_path, ALONE).train(StopBefore(2))
    with pytest.raises(ValueError, match="another configuration"):
        Trainer(make_run(seed=1), tmp_path, ALONE)


@pytest.mark.parametrize(("fields", "goes"), [({}, True), ({"precision": "bf16"}, False), ({"compile": "on"}, False)])
def test_float32_goes_through_onednn_on_the_cpu_and_the_layers_are_torchs_again(
    make_run, tmp_path, monkeypatch, fields, goes
):
    asked = []
    monkeypatch.setattr("gristmill.train.parallel.GradientCheckpointingLayer.compile", lambda layer, dynamic: None)
    monkeypatch.setattr(onednn, "_linear", lambda *given, through=onednn._linear: asked.append(1) or through(*given))
    trainer = Trainer(make_run(eval_every_steps=1000, **fields), tmp_path, ALONE)
    trainer.train(StopBefore(2))
    assert bool(asked) is goes
    assert not [layer for layer in trainer.model.modules() if "forward" in vars(layer)]


def test_accumulated_gradients_weigh_every_token_alike(make_run, tmp_path):
    # hardly learning: Muon's bfloat16 would turn the last bit of a gradient into a visible difference of later losses
    still = {"lr_matrix": 1e-9, "lr_embedding": 1e-9, "lr_norm": 1e-9}
    finished(make_run(micro_rows=4, optim=still), tmp_path / "whole")
    finished(make_run(micro_rows=1, optim=still), tmp_path / "pieces")
    for name in ("loss", "grad_norm"):
        assert logged(tmp_path / "pieces", name) == pytest.approx(logged(tmp_path / "whole", name), rel=1e-5)


def test_the_finished_folder_is_a_complete_hugging_face_model(make_run, tmp_path):
    run = make_run()
    out = tmp_path / "out"
    finished(run, out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generation_config.eos_token_id == [0, 3]
    assert AutoTokenizer.from_pretrained(out).convert_tokens_to_ids("w7") == 7
    assert {path.name for path in out.iterdir()} == {
        *(
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "metrics.jsonl",
            "result.json",
            "samples.jsonl",
        ),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }
    result = Report.model_validate_json((out / "result.json").read_text()).metrics
    assert result["steps"] == 8
    assert result["epochs"] == pytest.approx(32 / 22, abs=1e-4)
    measured_again = bits_per_byte(model, TokenShards(run.tokens), "validation")
    assert measured_again == pytest.approx(result["bits_per_byte"], abs=1e-6)
    assert [row["step"] for row in read_metrics(out / "metrics.jsonl") if "bits_per_byte" in row] == [3, 6, 8]


def test_training_goes_on_from_an_earlier_model(make_run, tmp_path):
    first = tmp_path / "first"
    finished(make_run(), first)
    start = {"kind": "artifact", "artifact": "checkpoint/pretrain-0"}
    second = make_run().model_copy(update={"start": first, "model": ModelConfig.model_validate({"start": start})})
    finished(second, tmp_path / "second")
    assert logged(tmp_path / "second", "loss")[0] < logged(first, "loss")[0] - 0.1


def test_training_goes_on_with_more_tokens_than_the_model_had(make_run, token_folder, tokenizer_folder, tmp_path):
    first = tmp_path / "first"
    finished(make_run(), first)
    vocab_size = json.loads((token_folder / "meta.json").read_text())["vocab_size"]
    state = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    state["model"]["vocab"] |= {"new": vocab_size, "newer": vocab_size + 1}
    (tokenizer_folder / "tokenizer.json").write_text(json.dumps(state))
    meta = json.loads((token_folder / "meta.json").read_text()) | {"vocab_size": vocab_size + 2}
    (token_folder / "meta.json").write_text(json.dumps(meta))
    np.save(token_folder / "token_bytes.npy", np.append(np.load(token_folder / "token_bytes.npy"), [3, 5]))
    start = {"kind": "artifact", "artifact": "checkpoint/pretrain-0"}
    run = make_run().model_copy(update={"start": first, "model": ModelConfig.model_validate({"start": start})})
    finished(run, tmp_path / "second")
    assert logged(tmp_path / "second", "loss")[0] < logged(first, "loss")[0] - 0.1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "second")
    assert model.config.vocab_size == len(model.lm_head.weight) == vocab_size + 2
    assert len(AutoTokenizer.from_pretrained(tmp_path / "second")) == vocab_size + 2


def test_losses_that_are_not_finite_are_skipped_then_named(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(objective_module, "summed_nats", lambda logits, targets, **_: logits.sum() * float("nan"))
    trainer = Trainer(make_run(max_skipped_steps=2), tmp_path, ALONE)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    rows = trainer.data.row_indices(2).tolist()
    with pytest.raises(TrainingDiverged, match="step 3: loss nan") as error:
        trainer.train(StopRequest())
    assert str(rows) in str(error.value)
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True))
    assert [row["loss"] for row in read_metrics(tmp_path / "metrics.jsonl")] == ["not finite", "not finite"]


def test_a_batch_that_processes_cannot_share_is_refused(make_run, tmp_path):
    with pytest.raises(ValueError, match="batch_rows=4 cannot be shared by 3 processes"):
        Trainer(make_run(), tmp_path, Ranks(rank=0, world=3, device=torch.device("cpu")))


def test_shards_without_validation_rows_are_refused_before_training(make_run, tmp_path):
    run = make_run()
    meta = json.loads((run.tokens / "meta.json").read_text())
    meta["splits"]["validation"]["rows"] = 0
    (run.tokens / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="no validation rows"):
        Trainer(run, tmp_path, ALONE)


def test_a_missing_tokenizer_is_found_before_training(make_run, tmp_path):
    run = make_run()
    (run.tokenizer / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.json not found"):
        Trainer(run, tmp_path, ALONE)


def test_a_finished_run_is_left_alone(make_run, tmp_path):
    config, out = tmp_path / "run.yaml", tmp_path / "out"
    config.write_text(make_run().model_dump_json())  # JSON is YAML
    out.mkdir()
    (out / "result.json").write_text("{}")
    (out / "checkpoints").mkdir()
    assert main(["--config", str(config), "--out", str(out)]) == 0
    assert [path.name for path in out.iterdir()] == ["result.json"]


def test_a_run_killed_at_its_very_end_measures_the_end_once(make_run, tmp_path, monkeypatch):
    run = make_run().model_copy(update={"leave_checkpoints": True})  # so the last step has a checkpoint to go on from
    finished(run, tmp_path / "straight")
    killed = Trainer(run, tmp_path / "killed", ALONE)
    killed.out.mkdir()
    assert killed.train(StopRequest())
    with monkeypatch.context() as patched:
        patched.setattr(trainer_module, "export_model", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            killed.finish()
    finished(run, tmp_path / "killed")
    assert logged(tmp_path / "killed", "bits_per_byte") == logged(tmp_path / "straight", "bits_per_byte")
