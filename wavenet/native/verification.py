"""Verification of native code: it is compared with the PyTorch network on a short piece before its first use.

The layout checks what a network consists of; this checks what it computes. It finds unforeseen differences, such as
a class whose methods were replaced.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wavenet.model import State, WaveNet
from wavenet.native.layout import UnknownNetworkError
from wavenet.nn import Condition

_STEPS = 24  # of generation; more than it computes ahead
_SAMPLES = 192  # of training; more than one of its chunks
_OUTPUTS, _GRADIENTS = 1e-3, 2e-2  # relative to the largest output and to a gradient's norm: allowed for rounding
_SEGMENTS = 3  # a ReLU whose input is rounded to the other side of 0 has another gradient, in about one segment of 2000
_NEGLIGIBLE = 1e-4  # relative to the norm of all gradients; smaller gradients consist of rounding errors only

LogProb = Callable[[Tensor, Condition | None], Tensor]


def verify_generation(
    model: WaveNet, parameters: Callable[[Tensor, Condition | None, State], Tensor], channels: int
) -> None:
    """Compare the parameters (1, P, T) of a few samples after a random state.

    Args:
        model: The model.
        parameters: Computes the parameters in native code.
        channels: Channels of the condition; 0 without one.

    Raises:
        UnknownNetworkError: If they differ by more than rounding.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        waveform = torch.rand(1, _STEPS) * 2 - 1
        states = [torch.rand(1, *shape) * 2 - 1 for shape in model.state_shapes]
        states += [] if model.context is None else model.context.beginning(waveform)
        condition = Condition(torch.rand(1, channels, 1) * 2 - 1) if _has_conditioners(model) else None
        expected, _ = model(waveform, condition, states)
        _compare("outputs", parameters(waveform, condition, State(waveform[:, :1], states)), expected)


def verify_training(model: WaveNet, log_prob: LogProb, channels: int) -> None:
    """Compare the log-probabilities (1, T) of a short segment, and their gradients; if those differ, of further ones.

    Args:
        model: The model.
        log_prob: Computes the log-probabilities in native code.
        channels: Channels of the condition; 0 without one.

    Raises:
        UnknownNetworkError: If the outputs differ by more than rounding, or the gradients do in every segment.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def run(form: LogProb, seed: int) -> tuple[Tensor, Sequence[Tensor | None]]:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            waveform = torch.rand(1, _SAMPLES) * 2 - 1
            values = (torch.rand(1, channels, 1) * 2 - 1).requires_grad_()
            outputs = form(waveform, Condition(values) if _has_conditioners(model) else None)
            sources = [*trained.values(), values]
            if not outputs.requires_grad:
                return outputs, [None] * len(sources)
            direction = torch.rand(outputs.shape) * 2 - 1
            return outputs.detach(), torch.autograd.grad((outputs * direction).sum(), sources, allow_unused=True)

    def different(seed: int) -> str | None:
        """Return the first parameter with another gradient."""
        outputs, gradients = run(log_prob, seed)
        expected, expected_gradients = run(lambda waveform, condition: model.log_prob(waveform, condition)[0], seed)
        _compare("outputs", outputs, expected)
        norms = [0.0 if gradient is None else gradient.norm().item() for gradient in expected_gradients]
        total = sum(norm**2 for norm in norms) ** 0.5
        names = (*trained, "the condition")
        for name, norm, gradient, other in zip(names, norms, gradients, expected_gradients, strict=True):
            if not _distance(gradient, other) <= _GRADIENTS * norm + _NEGLIGIBLE * total:
                return name
        return None

    name = None
    for seed in range(_SEGMENTS):
        name = different(seed)
        if name is None:
            return
    raise UnknownNetworkError(f"the gradient of {name} differs from the PyTorch network's")


def _has_conditioners(model: WaveNet) -> bool:
    """Return whether the model needs a condition; the context stack's output is added by either form itself."""
    return len(model.conditioners) > 0


def _compare(what: str, outputs: Tensor, expected: Tensor) -> None:
    difference = (outputs - expected).abs().max().item()
    if not difference <= _OUTPUTS * (1 + expected.abs().max().item()):
        raise UnknownNetworkError(f"its {what} differ by {difference:.3g} from the PyTorch network's")


def _distance(a: Tensor | None, b: Tensor | None) -> float:
    """Return the norm of the difference of two gradients; None counts as zeros."""
    if a is None or b is None:
        return sum(x.norm().item() for x in (a, b) if x is not None)
    return (a - b).norm().item()
