import pytest
import torch
from torch import nn

from gristmill.train.muon import Muon, orthogonalize

SHAPES = [(16, 24), (24, 16), (8, 8), (64, 32)]


def steps(optimizer, weights, count=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


def test_whole_matrices_in_bfloat16_get_the_bits_of_torch():
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(weight.detach().clone()) for weight in ours]
    mine = Muon(ours, lr=0.02, momentum=0.95, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="original")
    steps(mine, ours)
    steps(reference, theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(mine.state[one]["momentum_buffer"], reference.state[other]["momentum_buffer"])


@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_the_direction_is_nearly_the_orthogonal_factor_of_the_singular_value_decomposition(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalize(matrix, torch.float32)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    aligned = (found * (u @ vh)).sum() / (found.norm() * (u @ vh).norm())
    assert aligned > 0.98


@pytest.mark.parametrize("shape", [(3, 6, 8), (3, 8, 6)])
def test_each_expert_of_a_stack_is_a_matrix_of_its_own(shape):
    torch.manual_seed(0)
    stack = nn.Parameter(torch.randn(shape))
    apart = [nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    together, separate = (
        Muon(weights, lr=0.02, momentum=0.95, weight_decay=0.1, newton_schulz=torch.float32)
        for weights in ([stack], apart)
    )
    for step in range(4):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        gradient[0] *= 100  # a loud expert does not drown the others
        stack.grad = gradient
        for weight, part in zip(apart, gradient, strict=True):
            weight.grad = part.clone()
        together.step()
        separate.step()
    torch.testing.assert_close(stack.detach(), torch.stack([weight.detach() for weight in apart]), rtol=1e-5, atol=1e-6)


def test_a_matrix_stored_inputs_first_moves_as_its_transpose_does():
    torch.manual_seed(0)
    rows_out = nn.Parameter(torch.randn(24, 8))
    rows_in = nn.Parameter(rows_out.detach().T.clone())
    options = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1, "newton_schulz": torch.float32}
    plain, swapped = Muon([rows_out], **options), Muon([{"params": [rows_in], "inputs_first": True}], **options)
    rows_out.grad = torch.randn(24, 8)
    rows_in.grad = rows_out.grad.T.clone()
    plain.step()
    swapped.step()
    torch.testing.assert_close(rows_in.detach().T, rows_out.detach(), rtol=1e-5, atol=1e-6)
