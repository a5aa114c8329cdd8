import pytest
import torch

from gristmill.train.loss import CPU_BLOCK_ROWS, IGNORED, _block, summed_nats


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradient_are_those_of_torch(dtype):
    generator = torch.Generator().manual_seed(0)
    rows = 2 * CPU_BLOCK_ROWS + 3
    logits = torch.randn(rows, 50, generator=generator).mul(4).to(dtype)
    targets = torch.randint(0, 50, (rows,), generator=generator)
    targets[::7] = IGNORED
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()

    loss = summed_nats(ours, targets)
    (loss / 10).backward()
    expected = torch.nn.functional.cross_entropy(theirs.float(), targets, ignore_index=IGNORED, reduction="sum")
    (expected / 10).backward()

    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(logits, ours.detach()), "the logits are not overwritten"


def test_a_batch_without_targets_costs_nothing():
    logits = torch.randn(4, 5, requires_grad=True)
    loss = summed_nats(logits, torch.full((4,), IGNORED))
    loss.backward()
    assert loss.item() == 0
    torch.testing.assert_close(logits.grad, torch.zeros(4, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_z_loss_is_in_the_gradient_and_not_in_the_value(dtype):
    generator = torch.Generator().manual_seed(1)
    rows, weight = CPU_BLOCK_ROWS + 5, 0.01
    logits = torch.randn(rows, 30, generator=generator).mul(4).add(3).to(dtype)
    targets = torch.randint(0, 30, (rows,), generator=generator)
    targets[::5] = IGNORED
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()

    loss = summed_nats(ours, targets, z_loss=weight)
    (loss / 10).backward()
    nats = torch.nn.functional.cross_entropy(theirs.float(), targets, ignore_index=IGNORED, reduction="sum")
    log_z = theirs.float().logsumexp(dim=1)[targets != IGNORED]
    ((nats + weight * log_z.square().sum()) / 10).backward()

    torch.testing.assert_close(loss, nats)
    torch.testing.assert_close(ours.grad, theirs.grad)
    plain = logits.clone().requires_grad_()
    (summed_nats(plain, targets) / 10).backward()
    assert ours.grad is not None
    assert plain.grad is not None
    assert (ours.grad - plain.grad).abs().max() > 1e-3, "the term is large enough here to be seen"


@pytest.mark.parametrize("weight", [0.0, 1e-2])
def test_what_a_gpu_compiles_has_the_same_nats_and_gradient(weight: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gristmill.train.loss._compiled_block", lambda: _block)
    logits = torch.randn(CPU_BLOCK_ROWS + 9, 50, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(len(logits)) % 50
    targets[::7] = IGNORED
    losses, gradients = [], []
    for compiled in (False, True):
        given = logits.clone().requires_grad_()
        loss = summed_nats(given, targets, z_loss=weight, compiled=compiled)
        loss.backward()
        losses.append(loss.item())
        gradients.append(given.grad)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert torch.allclose(*gradients, atol=1e-6)
