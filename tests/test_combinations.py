"""Every output distribution with every set of conditioners, and each of both with a context stack, as in configs/."""

import copy
from itertools import product

import pytest
import torch

import wavenet
from tests.configured import build_model, choices, conditions_for, settings
from tests.conftest import lively
from tests.contract import verify_streaming
from wavenet.generation.cpu import CPUBackend
from wavenet.generation.uniforms import uniforms
from wavenet.training import CPUNetwork

pytestmark = pytest.mark.slow

SETS = [[]] + [[name] for name in choices("model/conditioners") if name != "none"]
SETS += [["speaker", "mel"], ["speaker", "language", "mel", "f0"]]
DISTRIBUTIONS = choices("model/distribution")
NATIVE = {"mulaw_categorical", "logistic_mixture", "gaussian", "gaussian_mixture"}  # that the cpu backend samples from
COMBINATIONS = [(*pair, False) for pair in product(DISTRIBUTIONS, SETS)]
COMBINATIONS += [(DISTRIBUTIONS[k % len(DISTRIBUTIONS)], chosen, True) for k, chosen in enumerate(SETS)]  # all pairs
SAMPLES = 60
SECONDS = SAMPLES / 8000


def named(combination):
    distribution, conditioners, context = combination
    return "-".join([distribution, "+".join(conditioners) or "none"] + ["context"] * context)


each = pytest.mark.parametrize("combination", COMBINATIONS, ids=named)


@pytest.fixture(autouse=True)
def _one_thread():
    """The models are so small that torch's threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(combination):
    distribution, conditioners, context = combination
    return lively(build_model(f"model/distribution={distribution}", *settings(conditioners, context))).eval()


@each
def test_whole_equals_chunks_equals_steps(combination):
    model = model_of(combination).double()
    conditions = conditions_for(model, 2, 40)

    def step(piece, state):
        condition, layers, position = state or (model.condition(conditions, 2), None, 0)
        now = None if condition is None else condition.slice(position, piece.shape[1])
        parameters, layers = model(piece, now, layers)
        return parameters, (condition, layers, position + piece.shape[1])

    verify_streaming(step, torch.rand(2, 40, dtype=torch.float64) * 2 - 1, model)


@each
def test_it_is_trained_saved_loaded_and_generates(combination, tmp_path):
    model = model_of(combination)
    conditions = conditions_for(model, 2, SAMPLES)
    learn(model, conditions)
    model = wavenet.load(wavenet.save(model, tmp_path / "model"))

    is_native = CPUBackend.unsupported_reason(model) is None
    assert is_native == (combination[0] in NATIVE)
    if is_native:
        waveform = torch.rand(2, SAMPLES) * 2 - 1
        with torch.inference_mode():
            condition = model.condition(conditions, 2)
            expected, _ = model(waveform, condition)
            torch.testing.assert_close(CPUBackend(model).parameters(waveform, condition), expected, rtol=0, atol=1e-4)
        check_cpu_audio(model, conditions)
    check_reference_audio(copy.deepcopy(model).double(), conditions)


def learn(model, conditions):
    """Two steps of the CPU's native training, whose gradients are the model's own; all parameters have one."""
    network, waveform = CPUNetwork(model), torch.rand(2, SAMPLES) * 2 - 1
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        gradients = []
        for log_prob in (network.log_prob, lambda *given: model.log_prob(*given)[0]):
            model.zero_grad()
            (-log_prob(waveform, model.condition(conditions, 2)).mean()).backward()
            gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        native, plain = gradients
        assert native.keys() == plain.keys() == dict(model.named_parameters()).keys()
        whole = torch.cat([wanted.flatten() for wanted in plain.values()]).norm()
        for name, wanted in plain.items():  # both are float32, and terms far larger than their sum may cancel out
            assert (native[name] - wanted).norm() <= 1e-4 * wanted.norm() + 1e-5 * whole, name
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def check_cpu_audio(model, conditions):
    """The same to the bit for any threads and chunks, alone and in a batch, and continued from different places."""
    options = {"conditions": conditions, "seed": 3, "backend": "cpu"}
    whole = wavenet.generate(model, SECONDS, num=2, threads=1, **options)
    assert whole.unique().numel() > 10
    for threads, chunk in ((2, 7), (1, 13), (3, 1)):
        made = wavenet.generate(model, SECONDS, num=2, threads=threads, chunk=chunk, **options)
        assert torch.equal(made, whole), (threads, chunk)
    for k in range(2):
        single = {name: [value[k]] if isinstance(value, list) else value[k] for name, value in conditions.items()}
        alone = wavenet.generate(model, SECONDS, **options | {"conditions": single, "seed": 3 + k})
        assert torch.equal(alone[0], whole[k])
    begun = wavenet.stream(model, [5 / 8000, 18 / 8000], num=2, **options)
    list(begun)
    continued = wavenet.generate(model, 40 / 8000, num=2, state=begun.state, chunk=9, **options)
    assert torch.equal(continued, torch.stack([whole[0, 5:45], whole[1, 18:58]]))


def check_reference_audio(model, conditions):
    """The same for any chunks, and what the whole sequence's parameters say with the same random numbers."""
    options = {"conditions": conditions, "seed": 3, "backend": "reference", "num": 2}
    made = wavenet.generate(model, SECONDS, **options)
    assert torch.equal(wavenet.generate(model, SECONDS, chunk=7, **options), made)
    inputs = torch.cat([torch.zeros(2, 1), made[:, :-1]], dim=1).double()
    with torch.inference_mode():
        parameters, _ = model(inputs, model.condition(conditions, 2))
        again = model.distribution.sample(parameters, uniforms([3, 4], 0, SAMPLES, model.distribution.num_uniforms))
    assert torch.equal(again.float(), made)
