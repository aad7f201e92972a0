"""Muon."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from wavenet.bounds import Betas, Epsilon, LearningRate, Momentum, WeightDecay, checked
from wavenet.optimizers.roles import HIDDEN
from wavenet.optimizers.stacked import Stack, StackedOptimizer
from wavenet.types import Integer

Iterations = Annotated[int, Integer(1, 100)]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(StackedOptimizer):
    """Moves each hidden matrix along its orthogonalised momentum, and all other parameters by AdamW.

    The same update as `torch.optim.Muon` (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/), which takes
    only parameters of two dimensions, one at a time; see `StackedOptimizer`. On a GPU the products are in bfloat16, as
    torch's, elsewhere in the precision of the parameters.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate of the hidden matrices: every update has about this spectral norm.
        momentum: Decay of the momentum, which is Nesterov's.
        weight_decay: Decoupled weight decay.
        iterations: Newton-Schulz iterations.
        adamw_lr: Learning rate of all other parameters.
        betas: AdamW's decay rates of the moments.
        eps: AdamW's epsilon.

    Raises:
        ValueError: If a number is out of range.
    """

    @checked
    def __init__(
        self,
        params: Any,
        lr: LearningRate = 0.02,
        momentum: Momentum = 0.95,
        weight_decay: WeightDecay = 0.01,
        iterations: Iterations = 5,
        adamw_lr: LearningRate = 0.01,
        betas: Betas = (0.9, 0.99),
        eps: Epsilon = 1e-8,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "iterations": iterations,
                "betas": tuple(betas),
                "eps": eps,
            },
        )
        for group in self.param_groups:
            if group["role"] != HIDDEN:
                group["lr"] = adamw_lr

    def new_state(self, parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the momentum."""
        return {"momentum": torch.zeros_like(parameter.detach().flatten(1))}

    def update(self, stack: Stack, group: Mapping[str, Any]) -> None:
        """Move along the orthogonalised momentum."""
        gradients, momentum = stack.gradients(), stack["momentum"]
        momentum.lerp_(gradients, 1 - group["momentum"])
        directions = orthogonalised(gradients.lerp(momentum, group["momentum"]), group["iterations"])
        lr = group["lr"]
        stack.move(directions, -lr * max(1, stack.rows / stack.columns) ** 0.5, lr * group["weight_decay"])


def orthogonalised(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return matrices with the same singular vectors, and singular values of about 1 (0.7 to 1.2), by Newton-Schulz.

    Args:
        matrices: (N, rows, columns).
        iterations: Quintic iterations, whose coefficients make small singular values grow fast.
    """
    a, b, c = _COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-7)
    x = x.to(torch.bfloat16) if x.is_cuda else x
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).to(matrices.dtype)
