import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.train.config import OptimConfig, PretrainConfig
from gristmill.train.cost import flops_per_token, memory_of, parameters_of
from gristmill.train.dial import facts_of, resolve
from gristmill.train.loss import summed_nats
from gristmill.train.optimizers import Optimizers

VOCAB_SIZE, ROWS, SEQ_LEN = 700, 4, 128
SHAPES = [
    ModelConfig(depth=1),
    ModelConfig(depth=3, width=96, head_dim=32, kv_heads=1, tie_embeddings=True),
    ModelConfig(depth=2, width=128, ffn_width=200),
]
MIXTURE = ModelConfig(family="qwen3_moe", depth=2, experts=4)


def built(config: ModelConfig):
    return build_model(config, vocab_size=VOCAB_SIZE, max_seq_len=SEQ_LEN, bos_id=1, eos_id=0, pad_id=2, seed=0)


def loss_of(model, *, precision: str) -> torch.Tensor:
    tokens = torch.randint(0, VOCAB_SIZE, (ROWS, SEQ_LEN), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = model(input_ids=tokens, use_cache=False).logits
    return summed_nats(logits.flatten(0, 1), tokens.flatten())


@pytest.mark.parametrize("config", [*SHAPES, MIXTURE])
def test_parameters_are_those_of_the_built_model(config):
    parameters = parameters_of(config.shape, vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN)
    assert parameters.total == sum(weight.numel() for weight in built(config).parameters())


@pytest.mark.parametrize("config", [*SHAPES, ModelConfig(family="gpt2", depth=2), ModelConfig(family="llama", depth=2)])
def test_flops_are_those_that_torch_counts(config):
    model = built(config)
    model.config._attn_implementation = "eager"  # the counter does not know the fused kernel of the CPU
    with FlopCounterMode(display=False) as counter:
        loss_of(model, precision="fp32").backward()
    expected = ROWS * SEQ_LEN * flops_per_token(config.shape, VOCAB_SIZE, SEQ_LEN)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("config", SHAPES)
def test_activations_are_about_what_autograd_saves(config, precision):
    model = built(config)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(model, precision=precision)
    size = 2 if precision == "bf16" else 4
    shape = {"vocab_size": VOCAB_SIZE, "seq_len": SEQ_LEN, "micro_rows": ROWS}
    memory = memory_of(config.shape, **shape, precision=precision, optimizer="muon")
    logits_gradient = size * ROWS * SEQ_LEN * VOCAB_SIZE
    copies = size * sum(weight.numel() for weight in model.parameters()) if size == 2 else 0
    measured = sum(nbytes for nbytes, _ in saved.values()) - logits_gradient
    assert memory.activations <= 1.15 * measured
    assert memory.activations >= 0.85 * (measured - copies)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_optimizer_state_has_the_size_that_is_foreseen(kind):
    config = ModelConfig(depth=2, width=64)
    model = built(config)
    loss_of(model, precision="fp32").backward()
    optim = resolve(PretrainConfig(optim=OptimConfig(kind=kind)), facts_of(config.shape, seq_len=SEQ_LEN)).optim
    optimizers = Optimizers(model, optim)
    optimizers.step(lr_multiplier=1.0)
    state = sum(tensor.nbytes for key, tensor in optimizers.state().items() if not key.endswith("/step"))
    shape = {"vocab_size": VOCAB_SIZE, "seq_len": SEQ_LEN, "micro_rows": ROWS}
    foreseen = memory_of(config.shape, **shape, precision="fp32", optimizer=kind).optimizer
    assert foreseen == pytest.approx(state, rel=0.01)  # norms have two
