"""Updates of many matrices at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from wavenet.optimizers.adjacent import adjacent_stack
from wavenet.optimizers.roles import HIDDEN, OUTER, VECTOR

_ROLES = (HIDDEN, OUTER, VECTOR)


class Stack:
    """Matrices of one shape, and their states, each stacked along a first dimension.

    The states are also the optimizer's, matrix by matrix, so that they are saved and loaded like any optimizer's.

    Args:
        parameters: N parameters of equal shape (rows, ...), type and device.
        states: The optimizer's states of all parameters.

    Attributes:
        rows: Rows of each matrix.
        columns: Columns of each matrix: all further dimensions of the parameter, flattened.
    """

    def __init__(self, parameters: Sequence[Tensor], states: Mapping[Tensor, dict[str, Any]]) -> None:
        self.parameters = list(parameters)
        self.rows = parameters[0].shape[0]
        self.columns = parameters[0][0].numel()
        self._states = [states[parameter] for parameter in parameters]
        self._stacks = {name: torch.stack([state[name] for state in self._states]) for name in self._states[0]}
        for name, stack in self._stacks.items():
            for state, part in zip(self._states, stack.unbind(), strict=True):
                state[name] = part

    def __getitem__(self, name: str) -> Tensor:
        """Return a state of all matrices, (N, ...), which may be changed in place."""
        return self._stacks[name]

    @property
    def step(self) -> int:
        """Steps that were taken before this one."""
        return int(self._states[0]["step"])

    def count(self) -> None:
        """Count a step."""
        self._stacks["step"] += 1

    def gradients(self) -> Tensor:
        """Return the gradients, (N, rows, columns), which may be their own memory."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        together = adjacent_stack(gradients)
        return (torch.stack(gradients) if together is None else together).flatten(2)

    def move(self, direction: Tensor, distance: float, decay: float) -> None:
        """Multiply the parameters by `1 - decay`, and add `distance` times the direction (N, rows, columns)."""
        direction = direction.reshape(len(self.parameters), *self.parameters[0].shape)
        together = adjacent_stack(self.parameters)
        if together is not None:
            together.mul_(1 - decay).add_(direction, alpha=distance)
            return
        torch._foreach_mul_(self.parameters, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(self.parameters, direction.unbind(), alpha=distance)  # pyright: ignore


class StackedOptimizer(Optimizer):
    """Base of optimizers that update matrices of one shape together, and all other parameters by AdamW.

    A network of dilated convolutions has many small matrices of few shapes. One at a time, each would take dozens of
    calls for products of microseconds; stacked, those of a shape take as many calls together. The weight of a
    convolution, (out, in, taps), is a matrix (out, in x taps).

    Subclasses define `new_state`, `update` and `matrix_roles`, the roles whose matrices they update. Their groups need
    `lr`, `betas`, `eps` and `weight_decay`, and may have a `role`: "hidden" (the default) for matrices between a
    network's channels, "outer" for those that touch samples or names, "vector" for biases and factors.

    Args:
        params: Parameters, or groups of them.
        defaults: Settings of groups that do not have their own.

    Raises:
        ValueError: If a group's role is unknown.
    """

    takes_roles = True
    matrix_roles: tuple[str, ...] = (HIDDEN,)

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(params, {"role": HIDDEN, **defaults})
        for group in self.param_groups:
            if group["role"] not in _ROLES:
                raise ValueError(f"role is {group['role']!r}; it must be one of {', '.join(_ROLES)}")
        self._stacks: dict[tuple[int, ...], Stack] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a loaded state, from which the stacks are made again."""
        super().__setstate__(state)
        self._stacks = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a step; parameters without a gradient are left alone.

        Args:
            closure: Computes the loss and the gradients.

        Returns:
            The closure's loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        current: dict[tuple[int, ...], Stack] = {}
        for group in self.param_groups:
            stacks, others = self._arranged(group)
            for members in stacks:
                key = tuple(map(id, members))
                stack = current[key] = self._stacks.get(key) or Stack(members, self.state)
                self.update(stack, group)
                stack.count()
            self._update_by_adamw(others, group)
        self._stacks = current
        return loss

    def new_state(self, parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the state of a matrix before its first step.

        Args:
            parameter: The matrix's parameter, which may be on the meta device.
            group: Settings of its group.
        """
        raise NotImplementedError

    def update(self, stack: Stack, group: Mapping[str, Any]) -> None:
        """Update a stack's parameters and states by its gradients."""
        raise NotImplementedError

    def expected_state(self, parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the whole state of a parameter before its first step; later ones have its names, shapes and types."""
        step = {"step": torch.tensor(0.0)}
        if self._is_matrix(parameter, group):
            return step | self.new_state(parameter, group)
        return step | {name: torch.zeros_like(parameter.detach()) for name in ("exp_avg", "exp_avg_sq")}

    def _is_matrix(self, parameter: Tensor, group: Mapping[str, Any]) -> bool:
        return parameter.dim() > 1 and group["role"] in self.matrix_roles

    def _arranged(self, group: dict[str, Any]) -> tuple[list[list[Tensor]], list[Tensor]]:
        """Return the matrices that can be stacked, and the other parameters; those without gradients are left out."""
        stacks: dict[Any, list[Tensor]] = {}
        others: list[Tensor] = []
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            matrix = self._is_matrix(parameter, group)
            if not state:
                state.update(self.expected_state(parameter, group))
            if matrix:
                alike = (parameter.shape, parameter.dtype, parameter.device, int(state["step"]))
                stacks.setdefault(alike, []).append(parameter)
            else:
                others.append(parameter)
        return list(stacks.values()), others

    def _update_by_adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        if not parameters:
            return
        states = [self.state[parameter] for parameter in parameters]
        fused = all(parameter.device.type == "cpu" for parameter in parameters)
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],  # pyright: ignore[reportArgumentType]
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=fused,
            foreach=not fused,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
