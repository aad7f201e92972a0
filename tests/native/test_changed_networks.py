"""A changed network is trained, generated from, saved and exported correctly or refused; never as the plain one.

Each change in `changes` is tested with all of these, and so is the plain network, which has to use native code.
"""

import warnings

import lightning as L
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader

import wavenet
from tests.native.changes import CHANGES, CONV, EITHER, LAYER, NATIVE, PYTORCH, SKIP, Change
from wavenet.exchange.onnx import export
from wavenet.training import CPUNetwork, WaveNetTraining

pytestmark = pytest.mark.slow

LENGTH = 24  # samples
LARGEST = 1e-4  # relative error of a gradient, as a vector
SIZES = {"dilation_cycle": 2, "num_cycles": 2}
EXPORTED = [  # some changes of each type, because an export takes seconds
    "a layer with a parameter more",
    "a hook on a skip",
    "a layer patched by a closure",
    "dropout in the head",
    "an adapter on a skip",
    "a weight of another class",
    "weight norm",
    "old weight norm",
]
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=[name.replace(" ", "-") for name in CHANGES])


@pytest.fixture(autouse=True)
def _one_thread():
    """Use one thread, which is faster for such a small network."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def build(small):
    """Return a function that builds the same small network and changes it; only its last network may be used.

    It is built anew each time: closures in a copy would refer to the first network.
    """
    undo = []

    def make(change: Change, changed: bool = True, **numbers: int):
        while undo:
            undo.pop()()
        settings = {**SIZES, **change.settings, **numbers}
        torch.manual_seed(0)
        if "context" in settings:
            settings["context"] = settings["context"]()
        model = small(**settings)
        if changed and (end := change.make(model)) is not None:
            undo.append(end)
        return model

    yield make
    while undo:
        undo.pop()()


def conditions_for(model, batch=2):
    """Return conditions for every conditioner of the model."""
    return {"speaker": ["bob", "ann"][:batch]} if "speaker" in model.conditioners else {}


def waveform():
    """Return the input, (2, LENGTH)."""
    return torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(1)) * 2 - 1


def difference(a, b):
    """Relative error of a vector."""
    return ((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-12)).item()


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * max(1.0, b.abs().max().item()))


@torch.no_grad()
def outputs(model, training=False):
    """Return parameters and log-probabilities, (2, P + 1, T)."""
    model.train(training)
    torch.manual_seed(2)
    parameters, _ = model(waveform(), model.condition(conditions_for(model), 2))
    torch.manual_seed(2)
    log_prob, _ = model.log_prob(waveform(), model.condition(conditions_for(model), 2))
    model.eval()
    return torch.cat([parameters, log_prob[:, None]], dim=1)


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def pytorch_gradients(model):
    """Return the gradients of the mean negative log-likelihood, by the PyTorch network and torch alone."""
    model.train()
    torch.manual_seed(2)
    (-model.log_prob(waveform(), model.condition(conditions_for(model), 2))[0].mean()).backward()
    return gradients_of(model)


def in_pieces(model, lengths):
    """Return parameters (2, P, T) from pieces of these lengths, and the gradients of one direction of them."""
    model.eval().zero_grad()
    pieces, state = [], None
    for piece in waveform().split(lengths, dim=1):
        parameters, state = model(piece, model.condition(conditions_for(model), 2), state)
        pieces.append(parameters)
    parameters = torch.cat(pieces, dim=-1)
    (parameters * torch.linspace(-1, 1, LENGTH)).sum().backward()
    return parameters.detach(), gradients_of(model)


class Watch(L.Callback):
    """A callback that keeps the gradients of a step."""

    def __init__(self) -> None:
        self.gradients = {}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients = gradients_of(pl_module.model)


class Seeded(WaveNetTraining):
    """Training whose steps begin with the same random numbers as `pytorch_gradients`."""

    def training_step(self, batch, batch_idx):
        torch.manual_seed(2)
        return super().training_step(batch, batch_idx)


def train(model):
    """Train one step with Lightning; return the gradients, and the warnings of this package."""
    watch = Watch()
    batch = {
        "waveform": waveform(),
        "predicted": torch.ones(2, LENGTH, dtype=torch.bool),
        "conditions": conditions_for(model),
    }
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        precision="32-true",
        max_epochs=1,
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Seeded(model.train(), lr=0.001), DataLoader([batch], batch_size=None))
    assert watch.gradients and trainer.global_step == 1
    return watch.gradients, of_a_slower_path(caught)


def of_a_slower_path(caught):
    """Return the warnings that native code is not used; each gives a reason, in one line."""
    messages = [str(one.message) for one in caught if one.category is UserWarning]
    chosen = [message for message in messages if "several times as long" in message or "slower backend" in message]
    for message in chosen:
        _, colon, reason = message.partition(": ")
        assert colon and len(reason) > 10 and "\n" not in message, message
    return chosen


def check_choice(expected, native, messages):
    """Check that the right network was used: the native one, or the PyTorch network with one warning."""
    assert len(messages) == (0 if native else 1), messages
    assert expected in (EITHER, NATIVE if native else PYTORCH), f"it has to be the {expected} network"


def onnx_outputs(path, model):
    """Return the parameters of an exported step, sample by sample, (2, P, T)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    step = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    samples = waveform().numpy()
    feed = {"uniforms": np.full((2, model.distribution.num_uniforms), 0.5, np.float32)}
    feed["temperature"] = np.array(1, np.float32)
    if model.stack.condition_channels:
        with torch.no_grad():
            feed["condition"] = model.condition(conditions_for(model), 2).values.numpy()
    names = [one.name for one in step.get_inputs() if one.name.startswith("state_")]
    states = [np.zeros((2, *one.shape[1:]), np.float32) for one in step.get_inputs() if one.name in names]
    parameters = []
    for t in range(samples.shape[1]):
        inputs = {"sample": samples[:, t : t + 1]} | dict(zip(names, states, strict=True))
        _, current, *states = step.run(None, feed | inputs)
        parameters.append(current)
    return torch.from_numpy(np.stack(parameters, axis=-1))


def rounded(model, weights):
    """The package's copy of a model with rounded weights."""
    try:
        from wavenet.native import with_rounded_weights
    except ImportError:
        from wavenet.generation.cpu import with_rounded_weights
    return with_rounded_weights(model, weights)


@torch.no_grad()
def round_weights(model, weights):
    """Do the same in place, for any form of network: computed weights become ordinary weights."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
        for key, computes in list(module._forward_pre_hooks.items()):  # old weight norm, spectral norm and pruning
            if hasattr(computes, "remove"):
                computes.remove(module)
                del module._forward_pre_hooks[key]
    layers = list(model.stack.layers)
    groups = [[model.input.conv], *([conv] for conv in model.head.modules() if isinstance(conv, nn.Conv1d))]
    groups.append([layer.skip for layer in layers])
    groups += [[layer.residual] for layer in layers if layer.residual is not None]
    groups += [[conv for conv in (layer.dilated.conv, layer.condition) if conv is not None] for layer in layers]
    for group in groups:
        highest = torch.stack([conv.weight.flatten(1).abs().amax(dim=1) for conv in group]).amax(dim=0)
        scale = (highest / 127).where(highest > 0, 1.0)[:, None, None]
        for conv in group:
            narrow = conv.weight.bfloat16() if weights == "bfloat16" else (conv.weight / scale).round() * scale
            conv.weight.copy_(narrow)
    return model


@every_change
def test_it_is_the_same_network_whole_and_in_steps(build, change):
    plain = outputs(build(change, changed=False)) if change.alters == "outputs" else None
    model = build(change)
    if plain is not None:
        moved = difference(outputs(model), plain)
        assert moved > 0.01
    whole, wanted = in_pieces(model, [LENGTH])
    for lengths in ([1] * LENGTH, [1, 17, 3, 3]):
        pieces, gradients = in_pieces(model, lengths)
        same(pieces, whole)
        assert gradients.keys() == wanted.keys()
        for name in wanted if change.streams else ():
            same(gradients[name], wanted[name])


@every_change
def test_it_trains_with_its_own_gradients(build, change, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    plain = pytorch_gradients(build(change, changed=False)) if change.alters == "gradients" else None
    wanted = pytorch_gradients(build(change))
    if plain is not None:
        moved = max(difference(wanted[name], plain[name]) for name in plain)
        assert moved > 0.01

    calls, native = [], CPUNetwork.log_prob
    monkeypatch.setattr(CPUNetwork, "log_prob", lambda *args: (calls.append(1), native(*args))[1])
    gradients, messages = train(build(change))
    assert gradients.keys() == wanted.keys()
    name, error = max(((name, difference(gradients[name], wanted[name])) for name in wanted), key=lambda pair: pair[1])
    assert error < LARGEST, name
    check_choice(change.trains, bool(calls), messages)


@every_change
def test_it_generates_its_own_audio(build, change):
    def generate(model, backend):
        return wavenet.generate(model, 0.032, num=2, seed=3, conditions=conditions_for(model), backend=backend)

    plain = generate(build(change, changed=False), "reference") if change.alters == "audio" else None
    wanted = generate(build(change), "reference")
    assert wanted.shape == (2, 64) and wanted.std() > 1e-3
    if plain is not None:
        assert not torch.equal(wanted, plain)

    model = build(change)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = wavenet.stream(model, 0.01, conditions=conditions_for(model, 1)).backend
    # first, because what follows could end this process
    check_choice(change.generates, chosen == "cpu", of_a_slower_path(caught))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(generate(model, "auto"), wanted)
    if chosen == "reference":
        with pytest.raises(ValueError) as refusal:
            generate(model, "cpu")
        assert "cpu" in str(refusal.value) and "\n" not in str(refusal.value)


def refused(change, call, folder):
    """Return whether a call refused the network, in one line and without files; the plain one is never refused."""
    try:
        call()
    except ValueError as error:
        assert "\n" not in str(error) and change.trains != NATIVE, error
        assert folder is None or list(folder.iterdir()) == []
        return True
    return False


@every_change
def test_it_is_saved_correctly_or_refused(build, change, tmp_path):
    wanted = [outputs(build(change), training) for training in (False, True)]
    model = build(change)
    if refused(change, lambda: wavenet.save(model, tmp_path / "model"), tmp_path):
        return
    again = wavenet.load(tmp_path / "model", trust=["tests"] if change.outside else ())
    for training, output in zip((False, True), wanted, strict=True):
        same(outputs(again, training), output)


@pytest.mark.parametrize("name", EXPORTED)
def test_it_is_exported_correctly_or_refused(build, name, tmp_path):
    change = CHANGES[name]
    wanted = outputs(build(change, num_cycles=1))[:, :-1]
    model = build(change, num_cycles=1)
    if refused(change, lambda: export(model, tmp_path / "model"), tmp_path):
        return
    same(onnx_outputs(tmp_path / "model" / "step.onnx", model), wanted)


@every_change
@pytest.mark.parametrize("weights", ["int8", "bfloat16"])
def test_it_is_rounded_correctly_or_refused(build, change, weights):
    exact = outputs(build(change))
    model, copies = build(change), []
    if refused(change, lambda: copies.append(rounded(model, weights)), None):
        return
    got = outputs(copies[0])
    assert torch.equal(outputs(model), exact)  # the model itself is unchanged
    wanted = outputs(round_weights(build(change), weights))
    assert difference(wanted, exact) > 1e-4
    same(got, wanted)


@pytest.mark.parametrize("place", [f"{LAYER}.residual", CONV, SKIP, "head.3"])
def test_weights_of_two_precisions_fail_as_in_the_pytorch_network(build, place, monkeypatch, tmp_path):
    """They cannot be combined in torch, and native code must not read one as the other."""
    monkeypatch.chdir(tmp_path)

    def make(model):
        model.get_submodule(place).double()

    def generate_with(backend):
        return lambda model: wavenet.generate(model, 0.01, backend=backend)

    change = Change(make)
    with pytest.raises(RuntimeError) as expected:
        pytorch_gradients(build(change))
    for attempt in (train, generate_with("auto"), generate_with("cpu")):
        with warnings.catch_warnings(), pytest.raises((type(expected.value), ValueError)):
            warnings.simplefilter("ignore")
            attempt(build(change))
