"""SOAP."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from wavenet.bounds import Betas, Epsilon, LearningRate, Momentum, WeightDecay, checked
from wavenet.optimizers.roles import HIDDEN, OUTER
from wavenet.optimizers.stacked import Stack, StackedOptimizer
from wavenet.types import Integer

Frequency = Annotated[int, Integer(1, 10**6)]  # steps
MaxDim = Annotated[int, Integer(0, 2**16)]

_SIDES = ("left", "right")


class SOAP(StackedOptimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2024, https://arxiv.org/abs/2409.11321).

    Algorithm 3 of the paper, for many matrices at a time; see `StackedOptimizer`. Averages of G G' and G'G are kept,
    where G is a matrix's gradient. Every few steps their eigenbases are brought up to date by one step of the power
    method and a QR decomposition. The first step only sets up the bases. Vectors are updated by AdamW.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of the moments.
        shampoo_beta: Decay rate of the averages of G G' and G'G.
        weight_decay: Decoupled weight decay.
        frequency: Steps between two updates of the bases.
        max_dim: A side of a matrix that is larger keeps its own basis.
        eps: Added to the root of the second moment.

    Raises:
        ValueError: If a number is out of range.
    """

    matrix_roles = (HIDDEN, OUTER)

    @checked
    def __init__(
        self,
        params: Any,
        lr: LearningRate = 0.003,
        betas: Betas = (0.95, 0.95),
        shampoo_beta: Momentum = 0.95,
        weight_decay: WeightDecay = 0.01,
        frequency: Frequency = 10,
        max_dim: MaxDim = 512,
        eps: Epsilon = 1e-8,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "shampoo_beta": shampoo_beta,
                "weight_decay": weight_decay,
                "frequency": frequency,
                "max_dim": max_dim,
                "eps": eps,
            },
        )

    def new_state(self, parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the moments, and the preconditioner and its eigenbasis for each side that is not too large."""
        matrix = parameter.detach().flatten(1)
        state = {"rotated_exp_avg": torch.zeros_like(matrix), "exp_avg_sq": torch.zeros_like(matrix)}
        for side, dim in zip(_SIDES, matrix.shape, strict=True):
            if dim <= group["max_dim"]:
                state[f"{side}_average"] = matrix.new_zeros(dim, dim)
                state[f"{side}_basis"] = torch.eye(dim, dtype=matrix.dtype, device=matrix.device)
        return state

    def update(self, stack: Stack, group: Mapping[str, Any]) -> None:
        """Average the gradients' products, and move by Adam in their eigenbases."""
        gradients = stack.gradients()
        sides = [side for side, dim in zip(_SIDES, (stack.rows, stack.columns), strict=True) if dim <= group["max_dim"]]
        for side in sides:
            factors = (gradients, gradients.mT) if side == "left" else (gradients.mT, gradients)
            beta = group["shampoo_beta"]
            stack[f"{side}_average"].baddbmm_(*factors, beta=beta, alpha=1 - beta)
        step = stack.step  # of Adam, as the first one only sets up the bases
        if step == 0:
            for side in sides:
                stack[f"{side}_basis"].copy_(torch.linalg.eigh(stack[f"{side}_average"])[1].flip(2))
            return
        beta1, beta2 = group["betas"]
        exp_avg, exp_avg_sq = stack["rotated_exp_avg"], stack["exp_avg_sq"]
        rotated = _rotated(stack, sides, gradients)
        exp_avg.lerp_(rotated, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(rotated, rotated, value=1 - beta2)
        correction = (1 - beta2**step) ** 0.5  # of the root of the second moment
        direction = exp_avg / exp_avg_sq.sqrt().add_(group["eps"] * correction)
        lr = group["lr"]
        distance = -lr * correction / (1 - beta1**step)
        stack.move(_rotated_back(stack, sides, direction), distance, lr * group["weight_decay"])
        if step % group["frequency"] == 0:
            for side in sides:
                _update_basis(stack, side)


def _rotated(stack: Stack, sides: list[str], x: Tensor) -> Tensor:
    """Return matrices (N, rows, columns) in the eigenbases."""
    x = stack["left_basis"].mT @ x if "left" in sides else x
    return x @ stack["right_basis"] if "right" in sides else x


def _rotated_back(stack: Stack, sides: list[str], x: Tensor) -> Tensor:
    x = stack["left_basis"] @ x if "left" in sides else x
    return x @ stack["right_basis"].mT if "right" in sides else x


def _update_basis(stack: Stack, side: str) -> None:
    """Order an eigenbasis by its eigenvalues and bring it closer to the eigenvectors; convert the moments to it."""
    average, basis = stack[f"{side}_average"], stack[f"{side}_basis"]
    exp_avg, exp_avg_sq = stack["rotated_exp_avg"], stack["exp_avg_sq"]
    product = average @ basis
    eigenvalues = (basis * product).sum(dim=1)
    order = eigenvalues.argsort(dim=1, descending=True)
    new_basis = torch.linalg.qr(product.gather(2, order.unsqueeze(1).expand_as(product)))[0]
    change = basis.mT @ new_basis
    exp_avg.copy_(change.mT @ exp_avg if side == "left" else exp_avg @ change)
    dim = 1 if side == "left" else 2
    exp_avg_sq.copy_(exp_avg_sq.gather(dim, order.unsqueeze(3 - dim).expand_as(exp_avg_sq)))
    basis.copy_(new_basis)
