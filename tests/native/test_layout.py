"""The networks that the layout supports, its reasons for the rest, and the comparison of outputs."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import wavenet
from wavenet import WaveNet
from wavenet.bounds import bounds_of
from wavenet.checkpoint import constructor_parameters
from wavenet.generation.cpu import CPUBackend
from wavenet.native import Layout, UnknownNetworkError, native_unsupported_reason, unsupported_reason
from wavenet.nn import GatedResidualLayer
from wavenet.training import CPUNetwork
from wavenet.training.cpu_weights import _Gather

PACKAGE = Path(wavenet.__file__).parent
MAY_READ_LAYERS = {"model.py", "nn", "native"}


def on_another_device(model):
    model.head[1].bias = nn.Parameter(torch.empty(10, device="meta"))


REASONS = {
    "head.0 is a GELU, not a ReLU": lambda model: model.head.__setitem__(0, nn.GELU()),
    "stack.layers.1 has hooks": lambda model: model.stack.layers[1].register_forward_hook(lambda *args: None),
    "the model has hooks": lambda model: model.register_full_backward_hook(lambda *args: None),
    "stack.layers.0.forward was replaced": lambda model: setattr(model.stack.layers[0], "forward", print),
    "the model.log_prob was replaced": lambda model: setattr(model, "log_prob", print),
    "stack.layers.2.norm is unknown": lambda model: model.stack.layers[2].add_module("norm", nn.GroupNorm(1, 6)),
    "the model.gain is unknown": lambda model: model.register_parameter("gain", nn.Parameter(torch.ones(1))),
    "stack.layers.0.table is unknown": lambda model: model.stack.layers[0].register_buffer("table", torch.ones(1)),
    "stack.layers.3.skip.weight is float64, not float32": lambda model: model.stack.layers[3].skip.double(),
    "its weights are on cpu and meta": on_another_device,
    "stack.layers is a Sequential, not a ModuleList": lambda model: setattr(
        model.stack, "layers", nn.Sequential(*model.stack.layers)
    ),
    "stack.layers.1 differs from the first layer in groups or residual_scale": lambda model: setattr(
        model.stack.layers[1], "residual_scale", 0.5
    ),
    "stack.layers.0.dilated pads 1 samples for": lambda model: setattr(
        model.stack.layers[0].dilated.conv, "dilation", (3,)
    ),
}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_name_what_is_not_supported(small, reason):
    model = small()
    assert unsupported_reason(model) is None
    REASONS[reason](model)
    assert unsupported_reason(model).startswith(reason)
    with pytest.raises(UnknownNetworkError, match=re.escape(reason)):
        Layout(model).weights()


def test_more_or_less_modules_in_the_head(small):
    for change, reason in (
        (lambda head: head.append(nn.ReLU()), "head.4 is a ReLU"),
        (lambda head: head.pop(3), "3 m"),
    ):
        model = small()
        change(model.head)
        assert reason in unsupported_reason(model)


def test_any_module_is_allowed():
    assert unsupported_reason(nn.Linear(1, 1)) == "the model is a Linear, not a WaveNet"


def test_dropout_counts_in_training_only(small):
    model = small(dropout=0.5)
    assert unsupported_reason(model) is None
    assert (
        CPUNetwork.unsupported_reason(model)
        == "native code computes the plain network only, and the layers have dropout"
    )
    assert unsupported_reason(model.train()) == "stack.layers.0 has dropout and is in training mode"


def test_hooks_for_all_modules(small):
    model = small()
    handle = nn.modules.module.register_module_forward_hook(lambda *args: None)
    try:
        assert unsupported_reason(model) == "hooks are registered for all modules"
        assert not torch.equal(model(torch.rand(1, 30))[0], torch.zeros(1))  # the PyTorch network runs with them
    finally:
        handle.remove()
    assert unsupported_reason(model) is None


def test_weights_that_are_computed_are_read_at_every_call(small):
    model = small()
    weight_norm(model.stack.layers[1].dilated.conv)
    layout = Layout(model)
    before = layout.weights().layers[1].dilated.clone()
    with torch.no_grad():
        model.stack.layers[1].dilated.conv.parametrizations.weight.original0.mul_(2)
    torch.testing.assert_close(layout.weights().layers[1].dilated, 2 * before)


def test_a_change_after_the_layout_is_noticed(small):
    changes = {
        "a hook": lambda model: model.stack.layers[0].skip.register_forward_pre_hook(lambda *args: None),
        "a module": lambda model: model.head.__setitem__(2, nn.Tanh()),
        "a number": lambda model: setattr(model.stack.layers[0], "residual_scale", 0.9),
        "a method": lambda model: setattr(model.head[1], "forward", print),
        "a class": lambda model: setattr(model.stack.layers[0], "__class__", type("L", (GatedResidualLayer,), {})),
    }
    for change in changes.values():
        model = small()
        layout, network = Layout(model), CPUNetwork(model)
        assert layout.is_unchanged()
        change(model)
        assert not layout.is_unchanged()
        with pytest.raises(UnknownNetworkError):
            network.check()


def test_irrelevant_changes_are_ignored(small):
    model = small()
    network = CPUNetwork(model)
    model.stack.layers[0].note = "mine"
    network.check()
    model.train()
    network.check()


def test_a_patched_class_is_noticed(small, monkeypatch):
    model = small()
    forward = GatedResidualLayer.forward
    monkeypatch.setattr(GatedResidualLayer, "forward", lambda *args: forward(*args))
    assert unsupported_reason(model) == "GatedResidualLayer was changed"


def test_the_comparison_finds_what_the_layout_does_not(small, monkeypatch):
    """As if the layout did not know the residual scale."""
    model = small(residual_scale=0.8)
    real = Layout.weights

    def wrong(self):
        self.residual_scale = 1.0
        return real(self)

    monkeypatch.setattr(Layout, "weights", wrong)
    assert native_unsupported_reason(model) is None
    with pytest.raises(UnknownNetworkError, match="its outputs differ by"):
        CPUBackend(model)
    with pytest.raises(UnknownNetworkError, match="its outputs differ by"):
        CPUNetwork(model).verify()
    with pytest.warns(UserWarning, match="slower backend 'reference', because cpu: its outputs differ by"):
        wavenet.generate(model, 0.01)
    with pytest.raises(ValueError, match="no backend supports this model: cpu: its outputs differ by"):
        wavenet.generate(model, 0.01, backend="cpu")


SETTINGS = {name: parameter.default for name, parameter in constructor_parameters(WaveNet).items()
            if name in bounds_of(WaveNet) and parameter.default is not parameter.empty}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_of_the_network_is_computed_or_refused(small, name):
    """A new setting that the layout does not know would be found by the comparison only, at each use."""
    values = [value for value in (True, False, 2, 4, 0.5) if bounds_of(WaveNet)[name].accepts(value)]
    changed = next(value for value in values if value != SETTINGS[name])
    model = small(**{name: changed})
    waveform = torch.rand(2, 50) * 2 - 1
    expected = model(waveform)[0]
    if unsupported_reason(model) is None:
        torch.testing.assert_close(CPUBackend(model).parameters(waveform), expected, rtol=1e-4, atol=1e-4)
    if CPUNetwork.unsupported_reason(model) is None:
        torch.testing.assert_close(CPUNetwork(model).parameters(waveform), expected, rtol=1e-4, atol=1e-4)


def test_the_comparison_looks_at_every_gradient(small, monkeypatch):
    model = small(weight_norm=True)
    real = Layout.weights

    def without_a_gradient(self, *args):
        weights = real(self, *args)
        weights.layers[1] = type(weights.layers[1])(
            *(None if part is None else part.detach() for part in vars(weights.layers[1]).values())
        )
        return weights

    monkeypatch.setattr(Layout, "weights", without_a_gradient)
    CPUBackend(model)  # the outputs are right
    with pytest.raises(UnknownNetworkError, match=r"the gradient of stack.layers.1.dilated.conv.bias differs"):
        CPUNetwork(model).verify()


def test_the_comparison_looks_at_every_gathered_gradient(small, monkeypatch):
    model = small()
    real = _Gather.backward
    index = [parameter is model.stack.layers[1].dilated.conv.weight for parameter in Layout(model).stored()].index(True)

    def without_a_gradient(ctx, *grads):
        indices, inverse, *gradients = real(ctx, *grads)
        gradients[index] = None
        return indices, inverse, *gradients

    monkeypatch.setattr(_Gather, "backward", staticmethod(without_a_gradient))
    CPUBackend(model)  # the outputs are right
    with pytest.raises(UnknownNetworkError, match=r"the gradient of stack.layers.1.dilated.conv.weight differs"):
        CPUNetwork(model).verify()


def test_the_comparison_draws_nothing_from_the_global_generator(small):
    model = small(speakers=("ann",))
    state = torch.get_rng_state()
    CPUBackend(model)
    CPUNetwork(model).verify()
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_other_module_reads_the_layers_of_the_network():
    inside = re.compile(r"\.dilated\.conv|model\.head|stack\.layers|\.input\.conv")
    for path in PACKAGE.rglob("*.py"):
        where = path.relative_to(PACKAGE)
        if where.parts[0] not in MAY_READ_LAYERS:
            assert not inside.findall(path.read_text()), where
