"""The structure of a network, as native code needs it: the only code outside of the layers that reads them.

Native code computes one network. A network that differs from it in any way is not supported: a module of another
class or with hooks, a method that was replaced, an unknown parameter, another precision. The reason is reported, and
the caller uses the PyTorch network instead.

Weights are read at every call, so parametrizations that compute them (`torch.nn.utils.parametrize`, such as weight
normalisation) are supported, and autograd takes their gradients back to the parameters. Variants of the network that
are the same arithmetic with other weights are converted here: groups become matrices with zeros, and an output
projection is multiplied into the layer before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from inspect import isfunction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook  # pyright: ignore[reportPrivateUsage]
from torch.nn.utils.parametrize import type_before_parametrizations

from wavenet.model import WaveNet
from wavenet.nn import CausalConv1d, GatedResidualLayer, Head, PointwiseConv1d, ResidualStack, filters_and_gates
from wavenet.nn.unmodified import has_hooks

_NETWORK = (WaveNet, CausalConv1d, PointwiseConv1d, GatedResidualLayer, ResidualStack, Head)
_AS_WRITTEN: dict[type, dict[str, Any]] = {
    kind: {name: value for name, value in vars(kind).items() if isfunction(value)} for kind in _NETWORK
}
_NOTHING = frozenset[str]()
_HEAD = 2  # convolutions of a head without an output projection


class UnknownNetworkError(ValueError):
    """A network that native code does not support; the message gives the reason."""


@dataclass(frozen=True)
class LayerModules:
    """The convolutions of a gated layer.

    Attributes:
        dilated: From the layer's input to filters and gates.
        dilation: Its dilation, samples.
        condition: From the condition to filters and gates; None without one.
        skip: From the gated output to the skips.
        residual: From the gated output to the residual path; None in the last layer, where it is not used.
    """

    dilated: nn.Conv1d
    dilation: int
    condition: nn.Conv1d | None
    skip: nn.Conv1d
    residual: nn.Conv1d | None


@dataclass(frozen=True)
class LayerWeights:
    """A gated layer's matrices, as dense as with one group: H filters, then their H gates; see `NetworkWeights`.

    Attributes:
        dilated: (2 H, R, taps).
        dilated_bias: (2 H,), or None.
        condition: (2 H, C), or None.
        skip: (S, H).
        skip_bias: (S,), or None.
        residual: (R, H); None in the last layer.
        residual_bias: (R,), or None.
    """

    dilated: Tensor
    dilated_bias: Tensor | None
    condition: Tensor | None
    skip: Tensor
    skip_bias: Tensor | None
    residual: Tensor | None
    residual_bias: Tensor | None


@dataclass(frozen=True)
class NetworkWeights:
    """All matrices: E encoded, R residual, H half of the gate, C condition, S skip, D hidden and P parameter channels.

    Attributes:
        input: (R, E, taps).
        input_bias: (R,), or None.
        layers: The matrices of each layer.
        hidden: (D, S), the head's first.
        hidden_bias: (D,).
        output: (P, D), its second.
        output_bias: (P,).
    """

    input: Tensor
    input_bias: Tensor | None
    layers: list[LayerWeights]
    hidden: Tensor
    hidden_bias: Tensor
    output: Tensor
    output_bias: Tensor


class Layout:
    """The layout of a network that native code supports: its sizes and its convolutions.

    Args:
        model: The model.
        any_precision: Whether types of weights other than float32 are allowed.

    Attributes:
        input: The convolution before the stack.
        layers: The convolutions of each layer.
        head: The head's two convolutions, and the output projection if there is one.
        groups: Groups of the dilated convolutions.
        residual_scale: Factor of each layer's residual output.
        dropout: Dropout of the dilated convolutions' inputs, in training.
        encoded_channels: E.
        residual_channels: R.
        half_channels: H.
        skip_channels: S.
        hidden_channels: D.
        parameter_channels: P.
        condition_channels: C; 0 without a condition.
        kernel_size: Taps of the dilated convolutions.
        input_kernel_size: Taps of the convolution before the stack.

    Raises:
        UnknownNetworkError: If the network is not supported; gives the reason.
    """

    def __init__(self, model: WaveNet, any_precision: bool = False) -> None:
        self._dtype = None if any_precision else torch.float32
        if _has_any_global_hook():
            raise UnknownNetworkError("hooks are registered for all modules")
        allowed = {"distribution", "conditioners", "context", "input", "stack", "head"}
        _check("the model", model, WaveNet, allowed)
        stack: Any = model.stack
        _check("stack", stack, ResidualStack, {"layers"})
        _check("stack.layers", stack.layers, nn.ModuleList, set(getattr(stack.layers, "_modules", ())))
        _check("input", model.input, CausalConv1d, {"conv"})
        self.input: nn.Conv1d = model.input.conv
        self.encoded_channels = model.distribution.in_channels
        self.residual_channels = self.input.out_channels
        self.input_kernel_size = self.input.kernel_size[0]
        _check_causal("input", model.input, self.encoded_channels, self.residual_channels, self.input_kernel_size)
        if not len(stack.layers):
            raise UnknownNetworkError("stack has no layers")
        for index, layer in enumerate(stack.layers):
            _check(f"stack.layers.{index}", layer, GatedResidualLayer, {"dilated", "condition", "skip", "residual"})
        first: Any = stack.layers[0]
        _check("stack.layers.0.dilated", first.dilated, CausalConv1d, {"conv"})
        self.groups: int = first.groups
        self.residual_scale: float = first.residual_scale
        self.dropout = max(layer.dropout for layer in stack.layers)
        self.kernel_size: int = first.dilated.conv.kernel_size[0]
        self.half_channels: int = first.dilated.conv.out_channels // 2
        self.skip_channels: int = first.skip.out_channels
        self.condition_channels: int = 0 if first.condition is None else first.condition.in_channels
        last = len(stack.layers) - 1
        self.layers = [self._layer(index, layer, index == last) for index, layer in enumerate(stack.layers)]
        self.head = self._head(model.head)
        self.hidden_channels, self.parameter_channels = self.head[0].out_channels, self.head[-1].out_channels
        if self.parameter_channels != model.distribution.parameter_channels:
            raise UnknownNetworkError(f"head has {self.parameter_channels} outputs")
        if self.condition_channels != stack.condition_channels:
            raise UnknownNetworkError("stack.condition_channels differs from that of its layers")
        self._check_weights()
        parts = (model, *model.input.modules(), *stack.modules(), *model.head.modules())
        self._structures = [(module, _structure(module)) for module in parts]

    def is_unchanged(self) -> bool:
        """Return whether the modules are still as they were when checked; fast enough to call at every step."""
        return not _has_any_global_hook() and all(_structure(module) == before for module, before in self._structures)

    def _layer(self, index: int, layer: Any, is_last: bool) -> LayerModules:
        place = f"stack.layers.{index}"
        if layer.dropout and layer.training:
            raise UnknownNetworkError(f"{place} has dropout and is in training mode")
        if (layer.groups, layer.residual_scale) != (self.groups, self.residual_scale):
            raise UnknownNetworkError(f"{place} differs from the first layer in groups or residual_scale")
        gates, residual, half = 2 * self.half_channels, self.residual_channels, self.half_channels
        _check(f"{place}.dilated", layer.dilated, CausalConv1d, {"conv"})
        _check_causal(f"{place}.dilated", layer.dilated, residual, gates, self.kernel_size, self.groups)
        if (layer.condition is None) != (self.condition_channels == 0):
            raise UnknownNetworkError(f"{place} has {'no' if layer.condition is None else 'a'} condition")
        if layer.condition is not None:
            _check_pointwise(f"{place}.condition", layer.condition, self.condition_channels, gates, with_bias=False)
        _check_pointwise(f"{place}.skip", layer.skip, half, self.skip_channels)
        if layer.residual is not None:
            _check_pointwise(f"{place}.residual", layer.residual, half, residual)
        elif not is_last:
            raise UnknownNetworkError(f"{place} has no residual output")
        dilation: int = layer.dilated.conv.dilation[0]
        kept = None if is_last else layer.residual
        return LayerModules(layer.dilated.conv, dilation, layer.condition, layer.skip, kept)

    def _head(self, head: Any) -> list[nn.Conv1d]:
        _check("head", head, Head, set("01234"[: len(head)]))
        modules = list(head)
        if len(modules) not in (4, 5):
            raise UnknownNetworkError(f"head has {len(modules)} modules")
        for index in (0, 2):
            _check(f"head.{index}", modules[index], nn.ReLU, _NOTHING)
        channels = self.skip_channels
        convolutions = [modules[1], *modules[3:]]
        for index, conv in zip((1, 3, 4), convolutions, strict=False):
            _check_pointwise(f"head.{index}", conv, channels, getattr(conv, "out_channels", 0), with_bias=True)
            channels = conv.out_channels
        return convolutions

    def _check_weights(self) -> None:
        """Check stored weights, and that all are on one device; computed weights are checked when they are read."""
        devices = set()
        for place, conv in self._named():
            for name, parameter in conv._parameters.items():
                if parameter is not None:
                    devices.add(_checked(f"{place}.{name}", parameter, self._dtype, nn.Parameter).device)
        if len(devices) > 1:
            raise UnknownNetworkError(f"its weights are on {' and '.join(sorted(map(str, devices)))}")

    def _named(self) -> list[tuple[str, nn.Conv1d]]:
        named = [("input.conv", self.input)]
        for index, layer in enumerate(self.layers):
            parts = {"dilated.conv": layer.dilated, "condition": layer.condition, "skip": layer.skip}
            parts["residual"] = layer.residual
            named += [(f"stack.layers.{index}.{name}", conv) for name, conv in parts.items() if conv is not None]
        return named + [(f"head.{index}", conv) for index, conv in zip((1, 3, 4), self.head, strict=False)]

    def stored(self) -> list[nn.Parameter] | None:
        """Return the parameters that are the weights as they are, in their order in memory.

        None if one has two places or an unusual type, or is computed from others: by a parametrization, or for groups
        or an output projection.
        """
        if self.groups > 1 or len(self.head) > _HEAD:
            return None
        stored: list[nn.Parameter] = []
        for _, conv in self._named():
            for name in ("weight", "bias"):
                if name not in conv._parameters:
                    return None
                parameter = conv._parameters[name]
                if parameter is not None:
                    stored.append(parameter)
        if any(type(parameter) is not nn.Parameter or parameter.dtype != self._dtype for parameter in stored):
            return None
        if len({id(parameter) for parameter in stored}) < len(stored):
            return None
        return sorted(stored, key=Tensor.data_ptr)

    def weights(self, stand_ins: Mapping[int, Tensor] | None = None) -> NetworkWeights:
        """Read all weights; autograd takes their gradients back to the model's parameters.

        Args:
            stand_ins: Tensors to read in place of the parameters with these ids, if all are stored.

        Raises:
            UnknownNetworkError: If a computed weight has the wrong shape or precision.
        """
        if stand_ins is None:
            convs = {id(conv): _read(place, conv, self._dtype) for place, conv in self._named()}
        else:
            convs = {id(conv): (stand_ins[id(conv.weight)], stand_ins.get(id(conv.bias))) for _, conv in self._named()}
        weight, bias = convs[id(self.input)]
        layers = []
        for layer in self.layers:
            dilated, dilated_bias = convs[id(layer.dilated)]
            condition = None if layer.condition is None else convs[id(layer.condition)][0].squeeze(-1)
            skip, skip_bias = convs[id(layer.skip)]
            residual, residual_bias = (None, None) if layer.residual is None else convs[id(layer.residual)]
            if self.groups > 1:
                dilated = _dense(dilated, self.groups)
                dilated, dilated_bias, condition = (
                    None if x is None else torch.cat(filters_and_gates(x, self.groups, dim=0))
                    for x in (dilated, dilated_bias, condition)
                )
            assert dilated is not None
            matrix = None if residual is None else residual.squeeze(-1)
            of_layer = (dilated, dilated_bias, condition, skip.squeeze(-1), skip_bias, matrix, residual_bias)
            layers.append(LayerWeights(*of_layer))
        hidden, output, *projection = ((w.squeeze(-1), b) for w, b in (convs[id(conv)] for conv in self.head))
        matrix, offset = output
        for after, after_bias in projection:
            matrix, offset = after @ matrix, after @ _present(offset) + _present(after_bias)
        return NetworkWeights(weight, bias, layers, hidden[0], _present(hidden[1]), matrix, _present(offset))


def unsupported_reason(model: nn.Module, any_precision: bool = False) -> str | None:
    """Return why native code does not support a network; None if it does.

    Args:
        model: Any module.
        any_precision: Whether types of weights other than float32 are allowed.

    Returns:
        A reason such as "head.0 is a GELU, not a ReLU", or None.
    """
    try:
        with torch.no_grad():
            Layout(model, any_precision).weights()  # pyright: ignore[reportArgumentType] - any module is allowed
    except UnknownNetworkError as error:
        return str(error)
    return None


def changed(place: str, module: nn.Module, kind: type[nn.Module]) -> str | None:
    """Return how a module differs from its class as written; None if it does not.

    Args:
        place: Its name, for the result.
        module: The module.
        kind: The only class that is allowed.
    """
    if type_before_parametrizations(module) is not kind:
        return f"{place} is a {type(module).__name__}, not a {kind.__name__}"
    if has_hooks(module):
        return f"{place} has hooks"
    replaced = sorted(module.__dict__.keys() & _functions(kind))
    if replaced:
        return f"{place}.{replaced[0]} was replaced"
    as_written = _AS_WRITTEN.get(kind)
    if as_written is not None and any(vars(kind).get(name) is not value for name, value in as_written.items()):
        return f"{kind.__name__} was changed"
    return None


def _structure(module: nn.Module) -> tuple[Any, ...]:
    """Return everything that defines a module except its weights."""
    attributes = module.__dict__
    numbers = [value for name, value in attributes.items() if name[0] != "_" and name != "training"]
    return type(module), len(attributes), numbers, list(module._modules.values()), has_hooks(module)


@cache
def _functions(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if isfunction(getattr(kind, name)))


def _check(place: str, module: Any, kind: type[nn.Module], children: set[str] | frozenset[str]) -> None:
    """Check that a module is of exactly that class, without parameters and unknown submodules."""
    if not isinstance(module, nn.Module):
        raise UnknownNetworkError(f"{place} is a {type(module).__name__}, not a {kind.__name__}")
    if (difference := changed(place, module, kind)) is not None:
        raise UnknownNetworkError(difference)
    more = sorted(module._modules.keys() - children - {"parametrizations"})
    if more:
        raise UnknownNetworkError(f"{place}.{more[0]} is unknown")
    if not issubclass(kind, nn.Conv1d) and (module._parameters or module._buffers):
        raise UnknownNetworkError(f"{place}.{next(iter(module._parameters | module._buffers))} is unknown")


def _check_conv(
    place: str, conv: Any, kind: type[nn.Conv1d], shape: tuple[int, ...], groups: int, dilation: int
) -> None:
    """Check that a module is a plain convolution of (outputs, inputs, taps)."""
    _check(place, conv, kind, _NOTHING)
    is_ = (conv.out_channels, conv.in_channels, *conv.kernel_size, conv.groups, *conv.dilation, *conv.stride)
    if is_ != (*shape, groups, dilation, 1) or conv.padding != (0,) or conv.transposed or conv.padding_mode != "zeros":
        raise UnknownNetworkError(f"{place} is {conv}")
    computed = set(conv.parametrizations) if "parametrizations" in conv._modules else set()
    unknown = (conv._parameters.keys() | conv._buffers.keys() | computed) - {"weight", "bias"}
    if unknown:
        raise UnknownNetworkError(f"{place}.{min(unknown)} is unknown")


def _check_causal(place: str, module: Any, inputs: int, outputs: int, taps: int, groups: int = 1) -> None:
    conv: Any = module.conv
    dilation = conv.dilation[0] if isinstance(getattr(conv, "dilation", None), tuple) else 1
    _check_conv(f"{place}.conv", conv, nn.Conv1d, (outputs, inputs, taps), groups, dilation)
    if (module.in_channels, module.padding) != (inputs, (taps - 1) * dilation):
        raise UnknownNetworkError(f"{place} pads {module.padding} samples for {conv}")


def _check_pointwise(place: str, conv: Any, inputs: int, outputs: int, with_bias: bool | None = None) -> None:
    _check_conv(place, conv, PointwiseConv1d, (outputs, inputs, 1), 1, 1)
    has_bias = "bias" in (conv.parametrizations if "bias" not in conv._parameters else ()) or conv.bias is not None
    if with_bias is not None and has_bias != with_bias:
        raise UnknownNetworkError(f"{place} has {'a' if has_bias else 'no'} bias")


def _read(place: str, conv: nn.Conv1d, dtype: torch.dtype | None) -> tuple[Tensor, Tensor | None]:
    """Return a convolution's weight and bias, checked: they may be computed."""
    weight, bias = conv.weight, conv.bias
    shape = conv.out_channels, conv.in_channels // conv.groups, conv.kernel_size[0]
    for name, tensor, expected in (("weight", weight, shape), ("bias", bias, shape[:1])):
        if tensor is not None:
            _checked(f"{place}.{name}", tensor, dtype, Tensor, nn.Parameter)
            if tensor.shape != expected:
                raise UnknownNetworkError(f"{place}.{name} is {tuple(tensor.shape)}, not {expected}")
    return weight, bias


def _checked(place: str, tensor: Tensor, dtype: torch.dtype | None, *classes: type[Tensor]) -> Tensor:
    """Check that a tensor is of one of these classes, of that dtype (None allows any), and dense; return it."""
    if type(tensor) not in classes:
        raise UnknownNetworkError(f"{place} is a {type(tensor).__name__}")
    if dtype not in (None, tensor.dtype):
        raise UnknownNetworkError(f"{place} is {str(tensor.dtype).removeprefix('torch.')}, not float32")
    if tensor.layout != torch.strided:
        raise UnknownNetworkError(f"{place} is {str(tensor.layout).removeprefix('torch.')}")
    return tensor


def _dense(weight: Tensor, groups: int) -> Tensor:
    """Convert a grouped weight (outputs, inputs / groups, taps) to that of one group: (outputs, inputs, taps)."""
    parts = [torch.nn.functional.pad(part, (0, 0, index * weight.shape[1], (groups - 1 - index) * weight.shape[1]))
             for index, part in enumerate(weight.chunk(groups))]  # fmt: skip
    return torch.cat(parts)


def _present(bias: Tensor | None) -> Tensor:
    assert bias is not None  # the head's convolutions have one
    return bias
