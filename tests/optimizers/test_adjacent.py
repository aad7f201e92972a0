"""Tensors that follow each other in memory."""

import pytest
import torch
from torch import nn

from wavenet.optimizers.adjacent import adjacent_stack, merged, place_adjacent


def weights(*shapes):
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def test_parameters_keep_their_values_and_are_one_run():
    parameters = weights((3, 4), (2,), (), (5, 1))
    before = [parameter.detach().clone() for parameter in parameters]
    assert len(merged(parameters)) == 4
    place_adjacent(parameters)
    assert all(torch.equal(one, other) for one, other in zip(parameters, before, strict=True))
    ((together,),) = merged(list(reversed(parameters)))
    torch.testing.assert_close(together, torch.cat([each.flatten() for each in before]))
    with torch.no_grad():
        together.zero_()
    assert not any(parameter.any() for parameter in parameters)


def test_other_types_and_shared_memory_are_left_apart():
    one, other = weights((4,), (4,))
    double = nn.Parameter(torch.randn(4, dtype=torch.float64))
    other.data = one.data[:2]  # tied
    buffer = nn.Parameter(torch.randn(3))
    shared = buffer.detach()
    meta = nn.Parameter(torch.empty(3, device="meta"))
    place_adjacent([one, double, other, buffer, meta], others=[shared, buffer])
    assert other.data_ptr() == one.data_ptr()
    assert shared.data_ptr() == buffer.data_ptr()
    assert double.dtype == torch.float64
    assert meta.is_meta


def test_lists_are_merged_at_the_same_positions_only():
    one, other = weights((2,), (2,), (2,)), weights((2,), (2,), (2,))
    place_adjacent(one)
    place_adjacent([other[0], other[2], other[1]])
    assert [[part.numel() for part in row] for row in merged(one, other)] == [[2, 2]] * 3
    place_adjacent(other)  # they share a storage, and are left as they are
    assert len(merged(one, other)) == 3
    same = weights((2,), (2,), (2,))
    place_adjacent(same)
    assert [[part.numel() for part in row] for row in merged(one, same)] == [[6, 6]]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_stack_is_a_view_if_its_parts_follow_each_other(shape):
    parts = weights(shape, shape, shape)
    assert adjacent_stack(parts) is None
    place_adjacent(parts)
    stack = adjacent_stack(parts)
    assert stack is not None and stack.data_ptr() == parts[0].data_ptr()
    assert torch.equal(stack, torch.stack(parts))
    assert adjacent_stack([parts[1], parts[0], parts[2]]) is None
    assert adjacent_stack([parts[0], parts[2]]) is None
    columns = torch.randn(4, 6).T
    assert adjacent_stack([columns[0], columns[1]]) is None
    last = torch.randn(3)[1:]
    assert adjacent_stack([last, torch.randn(2)]) is None


def test_the_order_of_what_is_merged_does_not_depend_on_addresses():
    """Otherwise the norm of the gradients, a sum over them, is rounded differently in each process."""
    memory = torch.arange(12.0).split(2)  # six tensors in one storage
    apart = [memory[4], memory[0], memory[2]]
    assert [part.tolist() for (part,) in merged(apart)] == [[8, 9], [0, 1], [4, 5]]
    together = [memory[5], memory[1], memory[0], memory[3]]
    assert [part.tolist() for (part,) in merged(together)] == [[10, 11], [0, 1, 2, 3], [6, 7]]
