"""Tensors that follow each other in memory, and so can be taken as one: one call instead of one for each.

A network of dilated convolutions has many small weights. On a CPU, a call for each of them takes longer than the
arithmetic.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


def place_adjacent(parameters: Iterable[Tensor], others: Iterable[Tensor] = ()) -> None:
    """Move the values of parameters into one storage for each type and device, in this order.

    Parameters that share memory, or have no ordinary memory, are left alone.

    Args:
        parameters: The parameters.
        others: Further tensors that parameters may share memory with, such as a module's buffers.
    """
    parameters = list(parameters)
    every = {id(tensor): tensor for tensor in (*parameters, *others)}
    users = Counter(_storage(tensor) for tensor in every.values() if _is_plain(tensor))
    kinds: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        if _is_plain(parameter) and users[_storage(parameter)] == 1:
            kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for members in kinds.values():
        flat = torch.cat([parameter.detach().flatten() for parameter in members])
        parts = flat.split([parameter.numel() for parameter in members])
        for parameter, part in zip(members, parts, strict=True):
            parameter.data = part.view(parameter.shape)


def merged(*lists: Sequence[Tensor]) -> list[list[Tensor]]:
    """Merge tensors that follow each other in memory.

    Args:
        lists: Lists of equal length.

    Returns:
        The same numbers in the same memory, as fewer rows of one tensor for each list; what was merged, in all lists at
        once, has one dimension. The rows are in the order of the lists, whatever their addresses: sums over them must
        be the same in every process.
    """
    runs: list[list[tuple[int, tuple[Tensor, ...]]]] = []
    ends: list[tuple[int, int]] = []  # of each list's run and its storage
    for number, row in sorted(enumerate(zip(*lists, strict=True)), key=lambda each: each[1][0].data_ptr()):
        starts = [tensor.data_ptr() for tensor in row]
        if runs and all(map(_continues, row, starts, ends, runs[-1][0][1])):
            runs[-1].append((number, row))
            ends = [(at + _bytes(tensor), limit) for tensor, at, (_, limit) in zip(row, starts, ends, strict=True)]
        else:
            runs.append([(number, row)])
            ends = [(at + _bytes(tensor), _storage_end(tensor)) for tensor, at in zip(row, starts, strict=True)]
    merged_runs = []
    for run in sorted(runs, key=lambda run: min(number for number, _ in run)):
        columns: Any = zip(*(row for _, row in run), strict=True)
        merged_runs.append([_flat(column) if len(column) > 1 else column[0] for column in columns])
    return merged_runs


def adjacent_stack(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return tensors of one shape and type as one, (N, *shape), in the same memory.

    None if they do not follow each other in this order.
    """
    first, size = tensors[0], _bytes(tensors[0])
    start = first.data_ptr()
    if start + len(tensors) * size > _storage_end(first):
        return None
    if any(each.data_ptr() != start + i * size or not each.is_contiguous() for i, each in enumerate(tensors)):
        return None
    return _flat(tensors).view(len(tensors), *first.shape)


def _continues(tensor: Tensor, start: int, ends: tuple[int, int], first: Tensor) -> bool:
    """Return whether a tensor begins where a run ends, in the storage of its first tensor."""
    end, limit = ends
    return (
        start == end
        and start + _bytes(tensor) <= limit
        and tensor.dtype == first.dtype
        and tensor.is_contiguous()
        and first.is_contiguous()
    )


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0].as_strided((sum(tensor.numel() for tensor in tensors),), (1,))


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided and not tensor.is_meta


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _storage_end(tensor: Tensor) -> int:
    storage = tensor.untyped_storage()
    return storage.data_ptr() + storage.nbytes()
