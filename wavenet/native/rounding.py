"""Narrower weights: their storage types, and models whose weights are rounded to them."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from wavenet.model import WaveNet
from wavenet.native.layout import Layout, UnknownNetworkError
from wavenet.nn import Head

WEIGHTS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}


def dtype_of(weights: str) -> torch.dtype:
    """Return the type in which weights of that name are stored.

    Raises:
        ValueError: If there is no such name.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights is '{weights}'; it must be one of {', '.join(WEIGHTS)}")
    return WEIGHTS[weights]


def scale_of(weights: Sequence[Tensor]) -> Tensor:
    """Return the factors of 8-bit weights, one for each output (the first dimension)."""
    scale = torch.stack([weight.flatten(1).abs().amax(dim=1) for weight in weights]).amax(dim=0) / 127
    return scale.where(scale > 0, 1.0)


def with_rounded_weights(model: WaveNet, weights: str) -> WaveNet:
    """Return a float32 copy of a model with weights rounded to a narrower type, for its evaluation.

    Args:
        model: The model.
        weights: As in `wavenet.generation`'s cpu backend; with "float32" the model itself is returned.

    Raises:
        ValueError: If `weights` is unknown, or the model is not a network that supports such weights.
    """
    dtype = dtype_of(weights)
    if weights == "float32":
        return model
    try:
        layout = Layout(model)
        model = without_parametrizations(copy.deepcopy(model).requires_grad_(False))
        _multiply_projection(model, layout)
        layout = Layout(model)
    except UnknownNetworkError as error:
        raise ValueError(f"weights={weights} needs a network that the cpu backend supports: {error}") from None
    groups: list[list[nn.Conv1d | None]] = [[layout.input], *([conv] for conv in layout.head)]
    groups.append([layer.skip for layer in layout.layers])
    groups += [[layer.residual] for layer in layout.layers]
    groups += [[layer.dilated, layer.condition] for layer in layout.layers]
    for group in groups:  # weights that are added up in the same outputs share one scale
        together = [conv.weight for conv in group if conv is not None]
        if not together:
            continue
        scale = scale_of(together)[:, None, None]
        for weight in together:
            rounded = (weight / scale).round() * scale if dtype == torch.int8 else weight.to(dtype)
            weight.data.copy_(rounded)
    return model


def without_parametrizations(model: WaveNet) -> WaveNet:
    """Replace computed weights, such as normalised ones, by ordinary frozen weights, in place.

    Args:
        model: The model, which is changed.

    Returns:
        The model.
    """
    for module in list(model.modules()):
        if is_parametrized(module):
            names = list(module._modules["parametrizations"]._modules)  # pyright: ignore[reportOptionalMemberAccess]
            computed = {name: getattr(module, name).detach().clone() for name in names}
            # torch's own removal would change a class that is shared by copies
            module.__class__ = type_before_parametrizations(module)
            del module._modules["parametrizations"]
            for name, values in computed.items():
                module.register_parameter(name, nn.Parameter(values, requires_grad=False))
    model.weight_norm = False
    return model


def _multiply_projection(model: WaveNet, layout: Layout) -> None:
    """Multiply the output projection into the layer before it, as in packed weights."""
    if len(layout.head) < 3:
        return
    weights = layout.weights()
    head = Head(layout.skip_channels, layout.hidden_channels, layout.parameter_channels)
    head.requires_grad_(False)
    head.float32_output = model.head.float32_output
    for index, (matrix, bias) in {
        1: (weights.hidden, weights.hidden_bias),
        3: (weights.output, weights.output_bias),
    }.items():
        head[index].weight.copy_(matrix.unsqueeze(-1))  # pyright: ignore[reportCallIssue]
        head[index].bias.copy_(bias)  # pyright: ignore[reportCallIssue]
    model.head, model.output_projection = head, False
