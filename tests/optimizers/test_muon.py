"""Muon: the update of torch's own, for many matrices at a time."""

import pytest
import torch
from torch import nn

from wavenet.optimizers import Muon
from wavenet.optimizers.muon import orthogonalised
from wavenet.optimizers.roles import HIDDEN, OUTER, VECTOR


def parameters(*shapes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def gradients_of(shapes, steps, seed=1, dtype=torch.float64):
    """Return a gradient of each shape for each step."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes] for _ in range(steps)]


def descend(optimizer, steps, seed=1):
    """Take steps along gradients that do not depend on the parameters."""
    learnt = [p for group in optimizer.param_groups for p in group["params"]]
    for gradients in gradients_of([p.shape for p in learnt], steps, seed, learnt[0].dtype):
        for p, gradient in zip(learnt, gradients, strict=True):
            p.grad = gradient
        optimizer.step()


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5)])
def test_orthogonalised(shape):
    x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    result = orthogonalised(x, 12)
    torch.testing.assert_close(result, orthogonalised(x.mT, 12).mT)
    along = u.mT @ result @ v.mT  # diagonal, with values of about 1
    assert along.diagonal(dim1=1, dim2=2).sub(1).abs().max() < 0.35
    off = along - torch.diag_embed(along.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-9 and s.min() > 0


def test_the_update_is_that_of_torch(monkeypatch):
    """Torch's products are in bfloat16; here they are made in float64, so that nothing but rounding can differ."""
    shapes = [(6, 4), (4, 6), (4, 6), (5, 5)]
    ours, theirs = parameters(*shapes), parameters(*shapes)
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self)
    options = {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.1}
    descend(Muon(ours, **options), 4)
    descend(torch.optim.Muon(theirs, nesterov=True, **options), 4)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_convolution_is_a_flattened_matrix():
    (kernel,), (matrix,) = parameters((6, 4, 2)), parameters((6, 8))
    assert torch.equal(kernel.flatten(1), matrix)
    descend(Muon([kernel]), 3)
    descend(Muon([matrix]), 3)
    assert torch.equal(kernel.flatten(1), matrix)


def test_other_roles_are_updated_by_adamw():
    shapes = [(6, 4), (3, 5), (7,)]
    ours, theirs = parameters(*shapes, dtype=torch.float32), parameters(*shapes, dtype=torch.float32)
    groups = [
        {"params": [ours[0]], "role": HIDDEN},
        {"params": [ours[1]], "role": OUTER},
        {"params": [ours[2]], "role": VECTOR, "weight_decay": 0.0},
    ]
    optimizer = Muon(groups, lr=0.5, adamw_lr=0.02, weight_decay=0.1, betas=(0.8, 0.9))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.02, 0.02]
    adamw = torch.optim.AdamW(
        [{"params": theirs[:1], "lr": 0}, {"params": theirs[1:2]}, {"params": theirs[2:], "weight_decay": 0.0}],
        lr=0.02, weight_decay=0.1, betas=(0.8, 0.9),
    )  # fmt: skip
    descend(optimizer, 5)
    descend(adamw, 5)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(ours[0], theirs[0])


def test_numbers_out_of_range_and_unknown_roles():
    with pytest.raises(ValueError, match=r"Muon: momentum is 1; it must be a number of at least 0 and below 1"):
        Muon(parameters((2, 2)), momentum=1)
    with pytest.raises(ValueError, match="role is 'middle'; it must be one of hidden, outer, vector"):
        Muon([{"params": parameters((2, 2)), "role": "middle"}])
