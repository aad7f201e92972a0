"""Both forms of a network side by side on a short piece, before the native one is trusted.

The layout looks at what a network is made of; this looks at what it does. It finds what nobody thought of, such as
a class whose methods were replaced.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wavenet.model import State, WaveNet
from wavenet.native.layout import UnknownNetworkError
from wavenet.nn import Condition

_STEPS = 24  # of generation; more than it looks ahead
_SAMPLES = 192  # of training; more than one of its chunks
_OUTPUTS, _GRADIENTS = 1e-3, 2e-2  # differences of the largest, and of a gradient's norm, that may be rounding
_UNSEEN = 1e-4  # of all gradients' norm; of smaller ones nothing is left but rounding

Parameters = Callable[[Tensor, Condition | None], Tensor]


def verify_generation(
    model: WaveNet, parameters: Callable[[Tensor, Condition | None, State], Tensor], channels: int
) -> None:
    """Compare parameters (1, P, T) of a few samples after an arbitrary past.

    Args:
        model: The model.
        parameters: The native form.
        channels: Of the condition; 0 without one.

    Raises:
        UnknownNetworkError: If they differ by more than rounding.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        waveform = torch.rand(1, _STEPS) * 2 - 1
        states = [torch.rand(1, *shape) * 2 - 1 for shape in model.state_shapes]
        states += [] if model.context is None else model.context.beginning(waveform)
        condition = Condition(torch.rand(1, channels, 1) * 2 - 1) if _is_told(model) else None
        expected, _ = model(waveform, condition, states)
        _compare("outputs", parameters(waveform, condition, State(waveform[:, :1], states)), expected)


def verify_training(model: WaveNet, parameters: Parameters, channels: int) -> None:
    """Compare parameters (1, P, T) of a short segment, and their gradients.

    Args:
        model: The model.
        parameters: The native form.
        channels: Of the condition; 0 without one.

    Raises:
        UnknownNetworkError: If they differ by more than rounding.
    """
    wanted = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def run(form: Parameters) -> tuple[Tensor, Sequence[Tensor | None]]:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            waveform = torch.rand(1, _SAMPLES) * 2 - 1
            values = (torch.rand(1, channels, 1) * 2 - 1).requires_grad_()
            made = form(waveform, Condition(values) if _is_told(model) else None)
            sources = [*wanted.values(), values]
            if not made.requires_grad:
                return made, [None] * len(sources)
            direction = torch.rand(made.shape) * 2 - 1
            return made.detach(), torch.autograd.grad((made * direction).sum(), sources, allow_unused=True)

    made, gradients = run(parameters)
    expected, right = run(lambda waveform, condition: model(waveform, condition)[0])
    _compare("outputs", made, expected)
    norms = [0.0 if gradient is None else gradient.norm().item() for gradient in right]
    total = sum(norm**2 for norm in norms) ** 0.5
    for name, norm, ours, theirs in zip((*wanted, "the condition"), norms, gradients, right, strict=True):
        if not _distance(ours, theirs) <= _GRADIENTS * norm + _UNSEEN * total:
            raise UnknownNetworkError(f"the gradient of {name} differs from the readable network's")


def _is_told(model: WaveNet) -> bool:
    """Whether it wants a condition; what a context stack says is added by either form itself."""
    return len(model.conditioners) > 0


def _compare(what: str, made: Tensor, expected: Tensor) -> None:
    difference = (made - expected).abs().max().item()
    if not difference <= _OUTPUTS * (1 + expected.abs().max().item()):
        raise UnknownNetworkError(f"its {what} differ by {difference:.3g} from the readable network's")


def _distance(a: Tensor | None, b: Tensor | None) -> float:
    """Norm of a difference of gradients, of which none is as good as zeros."""
    if a is None or b is None:
        return sum(x.norm().item() for x in (a, b) if x is not None)
    return (a - b).norm().item()
