import pytest
import safetensors.torch
import torch

from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.train.config import PretrainConfig
from gristmill.train.dial import facts_of, resolve
from gristmill.train.optimizers import Optimizers
from gristmill.train.slices import SavedTensors

OPTIM = resolve(PretrainConfig(), facts_of(ModelConfig(depth=1).shape, seq_len=8)).optim


def new_model(**fields):
    config = ModelConfig(depth=1, width=16, head_dim=8, **fields)
    return build_model(config, vocab_size=20, max_seq_len=8, bos_id=1, eos_id=0, pad_id=2, seed=0)


def train_steps(model, optimizers, *, first, count):
    for step in range(first, first + count):
        tokens = torch.randint(0, 20, (2, 8), generator=torch.Generator().manual_seed(step))
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizers.step(lr_multiplier=1.0)
        model.zero_grad()


def test_muon_takes_the_matrices_of_the_layers_and_adamw_the_rest():
    model = new_model(tie_embeddings=False)
    optimizers = Optimizers(model, OPTIM)
    train_steps(model, optimizers, first=0, count=1)
    owners = {key.split("/")[1]: key.split("/")[0] for key in optimizers.state()}
    assert owners.keys() == dict(model.named_parameters()).keys()
    for name, owner in owners.items():
        assert owner == ("muon" if "proj" in name else "adamw"), name


def test_a_learning_rate_of_zero_moves_no_weight():
    model = new_model()
    before = [weight.clone() for weight in model.parameters()]
    tokens = torch.arange(8).reshape(1, 8)
    model(input_ids=tokens, labels=tokens).loss.backward()
    Optimizers(model, OPTIM.model_copy(update={"weight_decay": 0.1})).step(lr_multiplier=0.0)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_adamw_can_take_every_weight():
    model = new_model()
    optimizers = Optimizers(model, OPTIM.model_copy(update={"kind": "adamw"}))
    train_steps(model, optimizers, first=0, count=1)
    state = optimizers.state()
    assert {key.split("/")[0] for key in state} == {"adamw"}
    assert {key.split("/")[1] for key in state} == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_restored_state_goes_on_with_the_same_bits(kind, tmp_path):
    model = new_model()
    optim = OPTIM.model_copy(update={"kind": kind})
    optimizers = Optimizers(model, optim)
    train_steps(model, optimizers, first=0, count=2)
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    safetensors.torch.save_file(optimizers.state(), tmp_path / "optimizer.safetensors")
    train_steps(model, optimizers, first=2, count=2)

    resumed = new_model()
    with torch.no_grad():
        for name, weight in resumed.named_parameters():
            weight.copy_(weights[name])
    restored = Optimizers(resumed, optim)
    restored.restore(SavedTensors([tmp_path / "optimizer.safetensors"]))
    train_steps(resumed, restored, first=2, count=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_adamw_takes_all_weights_where_it_is_asked_to():
    model = new_model(tie_embeddings=True)  # an output matrix of its own begins as zeros: no gradient gets past it
    optimizers = Optimizers(model, OPTIM.model_copy(update={"kind": "adamw", "lr_matrix_adamw": 1e-3}))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train_steps(model, optimizers, first=0, count=1)
    assert {key.split("/")[0] for key in optimizers.state()} == {"adamw"}
    # the first step of Adam moves each weight by its learning rate, whatever the gradient's size (Kingma and Ba 2015)
    moved = model.get_parameter("model.layers.0.mlp.down_proj.weight") - before["model.layers.0.mlp.down_proj.weight"]
    assert torch.allclose(moved.abs(), torch.tensor(1e-3), rtol=1e-3)


def test_only_embeddings_and_output_matrix_move_while_the_rest_is_held():
    model = new_model(tie_embeddings=False)
    optimizers = Optimizers(model, OPTIM.model_copy(update={"weight_decay": 0.1}))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    tokens = torch.arange(8).reshape(1, 8)
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizers.hold_all_but_embeddings()
    optimizers.step(lr_multiplier=1.0)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {"lm_head.weight"} or moved == {"lm_head.weight", "model.embed_tokens.weight"}
    assert {key.split("/")[1] for key in optimizers.state()} == {"lm_head.weight", "model.embed_tokens.weight"}


def test_restoring_forgets_the_state_of_weights_that_had_not_moved_when_it_was_saved(tmp_path):
    model = new_model()
    optimizers = Optimizers(model, OPTIM)
    model.get_input_embeddings().weight.grad = torch.ones(20, 16)  # pyright: ignore
    optimizers.step(lr_multiplier=1.0)
    before = optimizers.state()
    safetensors.torch.save_file({key: tensor.clone() for key, tensor in before.items()}, tmp_path / "o.safetensors")
    train_steps(model, optimizers, first=0, count=1)
    assert optimizers.state().keys() > before.keys()
    optimizers.restore(SavedTensors([tmp_path / "o.safetensors"]))
    assert optimizers.state().keys() == before.keys()
