"""The property of every causal module: whole = chunks = single steps, in outputs and gradients."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
Step = Callable[[Tensor, Any], tuple[Tensor, Any]]  # (piece, state) -> (output, state)


def verify_streaming(step: Step, x: Tensor, modules: nn.Module) -> None:
    """Compare one call with calls over pieces of 1, 3, 7 and random lengths.

    Args:
        step: The module as a function of a piece (..., t) and a state (None at first).
        x: The whole input, (..., T).
        modules: The module whose parameters' gradients are compared.
    """
    generator = torch.Generator().manual_seed(5)
    length = x.shape[-1]
    random_lengths = torch.randint(1, 12, (length,), generator=generator).tolist()
    whole, expected = _run(step, x, [length], modules)
    for lengths in ([1] * length, [3] * length, [7] * length, random_lengths):
        output, gradients = _run(step, x, lengths, modules)
        _close(output, whole)
        for name, gradient in expected.items():
            _close(gradients[name], gradient)


def _run(step: Step, x: Tensor, lengths: Iterable[int], modules: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    modules.zero_grad()
    x = x.detach().clone().requires_grad_(x.is_floating_point())
    outputs, state, start = [], None, 0
    for length in lengths:
        if start < x.shape[-1]:
            output, state = step(x[..., start : start + length], state)
            outputs.append(output)
            start += length
    result = torch.cat(outputs, dim=-1)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    (result * weights).sum().backward()
    gradients = {name: p.grad.clone() for name, p in modules.named_parameters() if p.grad is not None}
    if x.grad is not None:
        gradients["the input"] = x.grad
    return result.detach(), gradients


def _close(a: Tensor, b: Tensor) -> None:
    tolerance = TOLERANCE[a.dtype]
    scale = max(1.0, b.abs().max().item())
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * scale)
