"""Networks that differ from the plain one: changes that can be made to a WaveNet with torch."""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType, MethodType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, parametrize, prune

from wavenet import WaveNet
from wavenet.distributions import GaussianMixture, MuLawCategorical
from wavenet.nn import CausalConv1d, ContextStack, GatedResidualLayer, PointwiseConv1d, ResidualStack

PYTORCH, NATIVE, EITHER = "pytorch", "native", "either"


class Change(NamedTuple):
    """A change of a network.

    Attributes:
        make: Changes a model in place; returns a function that undoes changes outside of the model, or None.
        alters: What it alters: the network's "outputs", only the "gradients", only the "audio", or "nothing".
        trains: Which network has to train it: PYTORCH, with a warning; NATIVE, without; or EITHER, if it is correct.
        generates: Likewise, which network has to generate its audio.
        outside: Whether the model's class is not from the package, so that loading it needs `trust`.
        streams: Whether its gradients are also the same in pieces.
        settings: Arguments of the model, see `small`.
    """

    make: Callable[[WaveNet], Callable[[], object] | None]
    alters: str = "outputs"
    trains: str = PYTORCH
    generates: str = PYTORCH
    outside: bool = False
    streams: bool = True
    settings: Mapping[str, Any] = MappingProxyType({})


# ---- custom classes -----------------------------------------------------------------------------


class Soft(GatedResidualLayer):
    """A layer with another non-linearity."""

    def forward(self, x, condition=None, state=None):
        hidden, state = self.dilated(x, state)
        filters, gates = hidden.chunk(2, dim=1)
        gated = F.softsign(filters) * torch.sigmoid(gates)
        return x + self.residual(gated), gated, state


class StepNorm(nn.GroupNorm):
    """Normalises the channels of each step separately, so that a step does not depend on later ones."""

    def forward(self, input):
        steps = super().forward(input.transpose(1, 2).flatten(0, 1))
        return steps.unflatten(0, (len(input), -1)).transpose(1, 2)


class Normed(GatedResidualLayer):
    """A layer with a normalisation of the gated output."""

    def forward(self, x, condition=None, state=None):
        x, gated, state = super().forward(x, condition, state)
        return x, self.norm(gated), state


class Gained(GatedResidualLayer):
    """A layer with a learned factor."""

    def forward(self, x, condition=None, state=None):
        x, gated, state = super().forward(x, condition, state)
        return x * self.gain, gated, state


class Scaled(CausalConv1d):
    """A convolution with a factor."""

    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return 1.5 * y, state


class Averaged(ResidualStack):
    """A stack that returns the skips' mean instead of their sum."""

    def forward(self, x, condition=None, state=None):
        skips, state = super().forward(x, condition, state)
        return skips / len(self.layers), state


class Sharper(WaveNet):
    """A model that scales its logits."""

    def forward(self, waveform, condition=None, state=None):
        parameters, state = super().forward(waveform, condition, state)
        return 1.5 * parameters, state


class Softer(WaveNet):
    """A model with another loss; its outputs are the plain network's."""

    def log_prob(self, waveform, condition=None, state=None):
        log_prob, state = super().log_prob(waveform, condition, state)
        return 1.5 * log_prob, state


class Backwards(nn.ModuleList):
    """A list whose last layer comes first."""

    def __iter__(self):
        return reversed([self[number] for number in range(len(self))])


class Adapted(nn.Module):
    """A low-rank adapter of a convolution, whose attributes it exposes."""

    def __init__(self, base: nn.Conv1d) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Conv1d(base.in_channels, 2, base.kernel_size, dilation=base.dilation, bias=False)
        self.up = nn.Conv1d(2, base.out_channels, 1, bias=False)

    weight = property(lambda self: self.base.weight)
    bias = property(lambda self: self.base.bias)
    dilation = property(lambda self: self.base.dilation)
    groups = property(lambda self: self.base.groups)
    kernel_size = property(lambda self: self.base.kernel_size)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class Tripled(Tensor):
    """A weight that is multiplied by 3 in every product."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (F.conv1d, F.linear):
            x, weight, *others = (arg.as_subclass(Tensor) if isinstance(arg, cls) else arg for arg in args)
            return func(x, 3 * weight, *others, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})


class Half(nn.Module):
    """A parametrization."""

    def forward(self, weight):
        return 0.5 * weight


class Quieter(MuLawCategorical):
    """A distribution whose encoding is scaled down."""

    def encode(self, waveform):
        return 0.5 * super().encode(waveform)


# ---- changes ------------------------------------------------------------------------------------


def louder(module, args, output):
    """A hook after a module."""
    return (1.5 * output[0], *output[1:]) if isinstance(output, tuple) else 1.5 * output


def quieter(module, args):
    """A hook before a module."""
    return (0.5 * args[0], *args[1:])


def halved(module, grad_input, grad_output):
    """A hook in the backward pass."""
    return tuple(None if gradient is None else 0.5 * gradient for gradient in grad_input)


def hook(place: str, kind: str = "forward", called: Callable[..., object] = louder) -> Callable[[WaveNet], None]:
    """A change: a hook at a place of the model."""

    def make(model):
        getattr(model.get_submodule(place), f"register_{kind}_hook")(called)

    return make


def put(place: str, make: Callable[[Any], nn.Module]) -> Callable[[WaveNet], None]:
    """A change: the module at a place is replaced by what `make` returns for it."""
    return lambda model: model.set_submodule(place, make(model.get_submodule(place)))


def patched(place: str) -> Callable[[WaveNet], None]:
    """A change: a `forward` that is set on the object."""

    def forward(self, *args):
        return louder(self, args, type(self).forward(self, *args))

    def make(model):
        module = model.get_submodule(place)
        module.forward = MethodType(forward, module)

    return make


def patched_around(place: str) -> Callable[[WaveNet], None]:
    """A change: the same by a closure, which is shared with copies of the model."""

    def make(model):
        module = model.get_submodule(place)
        before = module.forward
        module.forward = lambda *args: louder(module, args, before(*args))

    return make


def become(place: str, kind: type[nn.Module], **more: nn.Module | nn.Parameter) -> Callable[[WaveNet], None]:
    """A change: the class of a module becomes a subclass, and it gets more parts."""

    def make(model):
        module = model.get_submodule(place)
        module.__class__ = kind
        for name, part in more.items():
            setattr(module, name, part)

    return make


def soft_layer(model):
    layer = Soft(6, 8, 10, 2, dilation=2)
    layer.load_state_dict(model.stack.layers[1].state_dict())
    model.stack.layers[1] = layer


def gained_layer(model):
    become(LAYER, Gained, gain=nn.Parameter(torch.tensor(0.5)))(model)


def normed_layer(model):
    become(LAYER, Normed, norm=StepNorm(2, 4))(model)


def class_patched(model):
    """Every layer of the package computes something else, without another class."""
    plain = GatedResidualLayer.forward
    GatedResidualLayer.forward = lambda self, *args: louder(self, args, plain(self, *args))
    return lambda: setattr(GatedResidualLayer, "forward", plain)


def global_hook(model):
    def called(module, args, output):
        return louder(module, args, output) if isinstance(module, GatedResidualLayer) else None

    return register_module_forward_hook(called).remove


def grouped(conv):
    return nn.Conv1d(conv.in_channels, conv.out_channels, conv.kernel_size, dilation=conv.dilation, groups=2)


def tripled_weight(model):
    conv = model.get_submodule(CONV)
    conv.weight = nn.Parameter(conv.weight.detach().as_subclass(Tripled))


def plain_list(model):
    layers = list(model.stack.layers)
    del model.stack.layers
    model.stack.layers = layers[::-1]


def farther(model):
    layer = model.stack.layers[1]
    layer.dilated.conv.dilation, layer.dilated.padding = (3,), 3


def layer_twice(model):
    model.stack.layers[2] = model.stack.layers[0]


def tied(model):
    model.stack.layers[2].dilated.conv.weight = model.stack.layers[0].dilated.conv.weight


def extra_parameter(model):
    model.stack.layers[1].extra = nn.Parameter(torch.ones(3))


def extra_child(model):
    model.stack.layers[1].norm = nn.GroupNorm(2, 4)


def frozen(model):
    model.get_parameter(f"{CONV}.weight").requires_grad_(False)
    model.get_parameter("head.1.bias").requires_grad_(False)


def frozen_layer(model):
    model.stack.layers[1].requires_grad_(False)


def gradient_of_a_weight(model):
    model.get_parameter(f"{CONV}.weight").register_hook(lambda gradient: 0.5 * gradient)


def float64_embedding(model):
    model.distribution.double()


def smoothed(model):
    model.distribution.log_prob = MethodType(
        lambda self, *args: 0.5 * type(self).log_prob(self, *args), model.distribution
    )


def mirrored(model):
    model.distribution.sample = MethodType(lambda self, *args: -type(self).sample(self, *args), model.distribution)


def all_normed(model):
    for module in list(model.modules()):
        if isinstance(module, nn.Conv1d):
            parametrizations.weight_norm(module)
            with torch.no_grad():
                module.parametrizations.weight.original0.mul_(1.2)


def one_normed(model):
    parametrizations.weight_norm(model.get_submodule(CONV)).parametrizations.weight.original0.data.mul_(1.5)


def old_weight_norm(place):
    def make(model):
        conv = model.get_submodule(place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated in favour of parametrizations, but in wide use
            nn.utils.weight_norm(conv)
        conv.weight_g.data.mul_(1.5)

    return make


def old_spectral_norm(place):
    def make(model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nn.utils.spectral_norm(model.get_submodule(place))

    return make


def pruned(place):
    def make(model):
        prune.l1_unstructured(model.get_submodule(place), "weight", amount=0.5)

    return make


def parametrized(place, make):
    def change(model):
        make(model.get_submodule(place))

    return change


LAYER = "stack.layers.1"
CONV, SKIP = f"{LAYER}.dilated.conv", f"{LAYER}.skip"
RIGHT = {"trains": EITHER, "generates": EITHER}
SPEAKERS = {"speakers": ("ann", "bob")}
CONTEXT = {"context": lambda: ContextStack(3, 4, 4, 6, 5, dilation_cycle=2)}

CHANGES = {
    "nothing": Change(lambda model: None, "nothing", NATIVE, NATIVE),
    "nothing, with speakers": Change(lambda model: None, "nothing", NATIVE, NATIVE, settings=SPEAKERS),
    "nothing, with a context": Change(lambda model: None, "nothing", NATIVE, NATIVE, settings=CONTEXT),
    "a frozen weight and bias": Change(frozen, "nothing", NATIVE, NATIVE),
    "a frozen layer": Change(frozen_layer, "nothing", NATIVE, NATIVE),
    # classes
    "a layer of another class": Change(soft_layer),
    "a layer with a normalisation": Change(normed_layer),
    "a layer with a parameter more": Change(gained_layer),
    "a convolution of another class": Change(become(f"{LAYER}.dilated", Scaled)),
    "an input of another class": Change(become("input", Scaled)),
    "a stack of another class": Change(become("stack", Averaged)),
    "a model of another class": Change(become("", Sharper), outside=True),
    "a model with another loss": Change(become("", Softer), "gradients", generates=EITHER, outside=True),
    "a distribution of another class": Change(become("distribution", Quieter), **RIGHT, outside=True),
    "a class with another forward": Change(class_patched),
    # hooks
    "a hook on the model": Change(hook("")),
    "a hook on the stack": Change(hook("stack")),
    "a hook on a layer": Change(hook(LAYER)),
    "a hook on the input": Change(hook("input")),
    "a hook on the input's convolution": Change(hook("input.conv")),
    "a hook on a causal convolution": Change(hook(f"{LAYER}.dilated")),
    "a hook on a convolution": Change(hook(CONV)),
    "a hook on a skip": Change(hook(SKIP)),
    "a hook on a residual": Change(hook(f"{LAYER}.residual")),
    "a hook on a layer's condition": Change(hook(f"{LAYER}.condition"), settings=SPEAKERS),
    "a hook on the head": Change(hook("head")),
    "a hook on the head of a mixture": Change(hook("head"), settings={"distribution": lambda: GaussianMixture(2)}),
    "a hook on the head's activation": Change(hook("head.2")),
    "a hook on the head's last": Change(hook("head.3")),
    "a hook on the embedding": Change(hook("distribution.embedding"), **RIGHT),
    "a hook on a conditioner": Change(hook("conditioners.speaker.embedding"), **RIGHT, settings=SPEAKERS),
    "a hook in the context stack": Change(hook("context.stack.layers.0.skip"), **RIGHT, settings=CONTEXT),
    "a hook before the model": Change(hook("", "forward_pre", quieter)),
    "a hook before a layer": Change(hook(LAYER, "forward_pre", quieter)),
    "a hook before a convolution": Change(hook(CONV, "forward_pre", quieter)),
    "a hook before a skip": Change(hook(SKIP, "forward_pre", quieter)),
    "a backward hook on a layer": Change(
        hook(LAYER, "full_backward", halved), "gradients", generates=EITHER, streams=False
    ),
    "a backward hook on a convolution": Change(
        hook(CONV, "full_backward", halved), "gradients", generates=EITHER, streams=False
    ),
    "a backward hook on a skip": Change(
        hook(SKIP, "full_backward", halved), "gradients", generates=EITHER, streams=False
    ),
    "a hook on a weight's gradient": Change(gradient_of_a_weight, "gradients", **RIGHT),
    "a hook on all modules": Change(global_hook),
    # patches
    "a patched model": Change(patched("")),
    "a patched stack": Change(patched("stack")),
    "a patched layer": Change(patched(LAYER)),
    "a patched convolution": Change(patched(CONV)),
    "a patched skip": Change(patched(SKIP)),
    "a patched head": Change(patched("head.1")),
    "a layer patched by a closure": Change(patched_around(LAYER)),
    "a patched log_prob": Change(smoothed, "gradients", **RIGHT),
    "a patched sample": Change(mirrored, "audio", trains=EITHER),
    # the head
    "another activation in the head": Change(put("head.0", lambda _: nn.GELU())),
    "a normalisation in the head": Change(put("head.0", lambda relu: nn.Sequential(StepNorm(2, 10), relu))),
    "dropout in the head": Change(put("head.2", lambda relu: nn.Sequential(relu, nn.Dropout(0.5))), "gradients"),
    "a deeper head": Change(put("head", lambda head: nn.Sequential(*head, nn.ReLU(), PointwiseConv1d(16, 16)))),
    # other parts
    "an adapter on a convolution": Change(put(CONV, Adapted)),
    "an adapter on a skip": Change(put(SKIP, Adapted)),
    "an adapter on a residual": Change(put(f"{LAYER}.residual", Adapted)),
    "a grouped convolution": Change(put(CONV, grouped)),
    "a longer filter": Change(put(f"{LAYER}.dilated", lambda _: CausalConv1d(6, 8, kernel_size=3, dilation=2))),
    "another dilation": Change(farther, **RIGHT),
    "layers backwards": Change(put("stack.layers", Backwards)),
    "layers in a sequence": Change(put("stack.layers", lambda layers: nn.Sequential(*layers)), "nothing", **RIGHT),
    "layers in a plain list": Change(plain_list, **RIGHT),
    "a layer twice": Change(layer_twice, **RIGHT),
    "a weight in two places": Change(tied, **RIGHT),
    "a parameter that is not used": Change(extra_parameter, "nothing", **RIGHT),
    "a module that is not used": Change(extra_child, "nothing", **RIGHT),
    "a weight of another class": Change(tripled_weight),
    "an embedding in float64": Change(float64_embedding, "nothing", **RIGHT),
    # computed weights
    "weight norm everywhere": Change(all_normed, **RIGHT),
    "weight norm": Change(one_normed, **RIGHT),
    "spectral norm": Change(parametrized(f"{LAYER}.residual", parametrizations.spectral_norm), **RIGHT),
    "a parametrization": Change(
        parametrized(CONV, lambda conv: parametrize.register_parametrization(conv, "weight", Half())), **RIGHT
    ),
    "a parametrization of a skip": Change(
        parametrized(SKIP, lambda skip: parametrize.register_parametrization(skip, "weight", Half())), **RIGHT
    ),
    "old weight norm": Change(old_weight_norm(CONV), **RIGHT),
    "old weight norm of a skip": Change(old_weight_norm(SKIP), **RIGHT),
    "old spectral norm": Change(old_spectral_norm(CONV), **RIGHT),
    "pruning": Change(pruned(CONV), **RIGHT),
    "pruning of a skip": Change(pruned(SKIP), **RIGHT),
}
