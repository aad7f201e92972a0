"""SOAP: algorithm 3 of the paper, for many matrices at a time."""

import pytest
import torch

from tests.optimizers.test_muon import descend, gradients_of, parameters
from wavenet.optimizers import SOAP


def algorithm_3(matrix, gradients, lr, betas, shampoo_beta, weight_decay, frequency, eps):
    """SOAP for one matrix, written line by line from the paper, with the first step as in its authors' code."""
    w = matrix.clone()
    rows, columns = w.shape
    left, right = torch.zeros(rows, rows, dtype=w.dtype), torch.zeros(columns, columns, dtype=w.dtype)
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, g in enumerate(gradients):
        left = shampoo_beta * left + (1 - shampoo_beta) * g @ g.T
        right = shampoo_beta * right + (1 - shampoo_beta) * g.T @ g
        if t == 0:
            q_left, q_right = (torch.linalg.eigh(p)[1].flip(1) for p in (left, right))
            continue
        m = betas[0] * m + (1 - betas[0]) * g
        rotated = q_left.T @ g @ q_right
        v = betas[1] * v + (1 - betas[1]) * rotated**2
        m_hat, v_hat = q_left.T @ m @ q_right / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        w = (1 - lr * weight_decay) * w - lr * q_left @ (m_hat / (v_hat.sqrt() + eps)) @ q_right.T
        if t % frequency == 0:
            order = torch.diag(q_left.T @ left @ q_left).argsort(descending=True)
            q_left, v = torch.linalg.qr(left @ q_left[:, order])[0], v[order]
            order = torch.diag(q_right.T @ right @ q_right).argsort(descending=True)
            q_right, v = torch.linalg.qr(right @ q_right[:, order])[0], v[:, order]
    return w


def test_the_update_is_that_of_the_paper():
    options = {
        "lr": 0.05, "betas": (0.8, 0.9), "shampoo_beta": 0.7, "weight_decay": 0.1, "frequency": 3, "eps": 1e-8,
    }  # fmt: skip
    shapes = [(5, 4), (4, 5), (5, 4), (6, 6)]  # so that no eigenspace of the first products has several dimensions
    ours, before = parameters(*shapes), parameters(*shapes)
    descend(SOAP(ours, **options), 10)
    gradients = gradients_of(shapes, 10)
    for index, matrix in enumerate(before):
        expected = algorithm_3(matrix.detach(), [each[index] for each in gradients], **options)
        torch.testing.assert_close(ours[index].detach(), expected, rtol=1e-8, atol=1e-10)


def test_a_large_side_keeps_its_basis():
    (matrix,) = parameters((3, 6))
    optimizer = SOAP([matrix], max_dim=4)
    descend(optimizer, 3)
    assert optimizer.state[matrix].keys() == {"step", "rotated_exp_avg", "exp_avg_sq", "left_average", "left_basis"}
    (both,) = parameters((3, 6))
    adam = torch.optim.Adam([both], lr=0.003, betas=(0.95, 0.95))
    optimizer = SOAP([(plain := parameters((3, 6))[0])], max_dim=0, weight_decay=0)  # no bases are left: Adam
    descend(optimizer, 3)
    for (both.grad,) in gradients_of([(3, 6)], 3)[1:]:  # in the first step SOAP does not move
        adam.step()
    torch.testing.assert_close(plain, both)


def test_curved_valleys_are_descended_faster_than_by_adam():
    """A quadratic whose axes are not the coordinates'."""
    scales = torch.diag(torch.logspace(0, -3, 8, dtype=torch.float64))
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[0]
    curve = turn @ scales @ turn.T

    def descended(make):
        (w,) = parameters((8, 8))
        optimizer = make([w])
        for _ in range(150):
            optimizer.zero_grad()
            loss = (w * (curve @ w)).sum()
            loss.backward()
            optimizer.step()
        return loss.item()

    adam = descended(lambda w: torch.optim.Adam(w, lr=0.03, betas=(0.9, 0.95)))
    soap = descended(lambda w: SOAP(w, lr=0.03, betas=(0.9, 0.95), weight_decay=0))
    assert soap < 0.5 * adam


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match="SOAP: frequency is 0; it must be a whole number from 1"):
        SOAP(parameters((2, 2)), frequency=0)
