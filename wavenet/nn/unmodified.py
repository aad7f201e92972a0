"""Checks that a module is unmodified, so that using its weights is the same as calling it."""

from torch import nn
from torch.nn.modules.module import _has_any_global_hook  # pyright: ignore[reportPrivateUsage]
from torch.nn.utils.parametrize import type_before_parametrizations


def is_unmodified(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a module is of exactly this class, without hooks, and with the class's own `forward`.

    Parametrizations (`torch.nn.utils.parametrize`) are allowed: they compute the weights whenever
    these are read.

    >>> from torch.nn.utils.parametrizations import weight_norm
    >>> conv = nn.Conv1d(1, 1, 1)
    >>> is_unmodified(conv, nn.Conv1d), is_unmodified(weight_norm(conv), nn.Conv1d), is_unmodified(conv, nn.Module)
    (True, True, False)
    >>> _ = conv.register_forward_hook(lambda module, args, output: 2 * output)
    >>> is_unmodified(conv, nn.Conv1d)
    False
    """
    return (
        (type(module) is kind or type_before_parametrizations(module) is kind)
        and not has_hooks(module)
        and "forward" not in module.__dict__
        and not _has_any_global_hook()
    )


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks before or after its `forward` or its backward pass."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
