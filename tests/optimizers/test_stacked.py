"""What both optimizers have in common: states that are saved and loaded, and parameters that come and go."""

import copy
import io

import pytest
import torch

from tests.optimizers.test_muon import descend, gradients_of, parameters
from wavenet.optimizers import SOAP, Muon
from wavenet.optimizers.roles import VECTOR

KINDS = pytest.mark.parametrize("kind", [Muon, SOAP])
SHAPES = [(6, 4, 2), (6, 4, 2), (5, 8), (8, 5), (7,)]


def made(kind, seed=0):
    weights = parameters(*SHAPES, seed=seed, dtype=torch.float32)
    return weights, kind([{"params": weights[:-1]}, {"params": weights[-1:], "role": VECTOR, "weight_decay": 0.0}])


@KINDS
def test_a_loaded_state_continues_to_the_bit(kind):
    weights, optimizer = made(kind)
    descend(optimizer, 13)
    file = io.BytesIO()
    torch.save({"weights": weights, "state": optimizer.state_dict()}, file)
    descend(optimizer, 12, seed=2)

    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    others, resumed = made(kind, seed=5)
    descend(resumed, 2, seed=7)  # another state, which the loaded one replaces
    with torch.no_grad():
        for one, other in zip(others, saved["weights"], strict=True):
            one.copy_(other)
    resumed.load_state_dict(saved["state"])
    descend(resumed, 12, seed=2)
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))


@KINDS
def test_a_copied_optimizer_goes_its_own_way(kind):
    _, optimizer = made(kind)
    descend(optimizer, 3)
    twin = copy.deepcopy(optimizer)
    descend(optimizer, 5)
    descend(twin, 5)
    pairs = zip(optimizer.param_groups, twin.param_groups, strict=True)
    assert all(torch.equal(a, b) for one, two in pairs for a, b in zip(one["params"], two["params"], strict=True))
    assert all(
        a is not b for a, b in zip(optimizer.param_groups[0]["params"], twin.param_groups[0]["params"], strict=True)
    )


@KINDS
def test_a_stack_does_what_its_matrices_do_alone(kind):
    together, optimizer = made(kind)
    descend(optimizer, 12)
    gradients = gradients_of(SHAPES, 12, dtype=torch.float32)
    for index in range(4):
        alone = parameters(*SHAPES, dtype=torch.float32)[index]
        single = kind([alone])
        for step in gradients:
            alone.grad = step[index]
            single.step()
        torch.testing.assert_close(alone, together[index], rtol=1e-4, atol=1e-5)


@KINDS
def test_parameters_without_a_gradient_are_left_alone_and_continue_later(kind):
    weights, optimizer = made(kind)
    descend(optimizer, 2)
    before = weights[1].clone(), weights[4].clone()
    for parameter in weights:
        parameter.grad = torch.ones_like(parameter)
    weights[1].grad = weights[4].grad = None
    optimizer.step()
    assert torch.equal(weights[1], before[0]) and torch.equal(weights[4], before[1])
    steps = [int(optimizer.state[parameter]["step"]) for parameter in weights]
    assert steps == [3, 2, 3, 3, 2]
    descend(optimizer, 2)
    assert [int(optimizer.state[parameter]["step"]) for parameter in weights] == [5, 4, 5, 5, 4]
    assert all(bool(parameter.isfinite().all()) for parameter in weights)


@KINDS
def test_the_expected_state_is_like_the_real_one(kind):
    _, optimizer = made(kind)
    descend(optimizer, 3)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            expected, state = optimizer.expected_state(parameter.to("meta"), group), optimizer.state[parameter]
            assert {name: tensor.shape for name, tensor in expected.items()} == {
                name: tensor.shape for name, tensor in state.items()
            }


@KINDS
def test_a_closure_gives_the_loss(kind):
    (weight,) = parameters((3, 3))
    optimizer = kind([weight], lr=0.01)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(20)]
    assert losses[-1] < losses[0]
