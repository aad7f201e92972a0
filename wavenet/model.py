"""The WaveNet model: encode past samples, run the residual stack, and return the next sample's distribution.

```
                        conditions, context stack
                                    |
waveform -> encode -> input conv -> [gated layer] x N -> skips -> head -> parameters
(B, T)                                                                    (B, P, T)
```
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as normalise_weight

from wavenet.audio import Features
from wavenet.bounds import (
    Channels,
    DilationCycle,
    Dropout,
    Flag,
    GateChannels,
    Groups,
    KernelSize,
    NumCycles,
    ResidualScale,
    SampleRate,
    checked,
)
from wavenet.conditioning import Conditioner
from wavenet.distributions import OutputDistribution
from wavenet.model_table import model_table
from wavenet.nn import CausalConv1d, Condition, ContextStack, Head, ResidualStack, cycle_of_dilations


class State(NamedTuple):
    """The model's state: what it needs of the past to continue.

    Attributes:
        previous: The last sample, (B, 1).
        layers: The state of the input convolution, of each residual layer, and of the context stack if
            there is one; None at the very beginning, before any input.
    """

    previous: Tensor
    layers: list[Tensor] | None


class WaveNet(nn.Module):
    """The generative model of raw audio of van den Oord et al. (2016), https://arxiv.org/abs/1609.03499.

    Args:
        distribution: The output distribution, such as `wavenet.distributions.MuLawCategorical` (section 2.2).
        sample_rate: Sample rate of the audio, Hz.
        conditioners: Conditioners by name (section 2.5), each with `condition_channels` channels.
        context: A context stack (section 2.6) with `condition_channels` channels, or None.
        residual_channels: Channels of the residual path.
        gate_channels: Channels of each dilated convolution before its split into filter and gate.
        skip_channels: Channels of the sum of skips.
        condition_channels: Channels of the condition; used only if there is one.
        kernel_size: Taps of each dilated convolution.
        dilation_cycle: Layers in a cycle; their dilations are 1, 2, 4, ... 2**(dilation_cycle - 1).
        num_cycles: How many times the cycle is repeated.
        input_kernel_size: Taps of the convolution before the stack.
        bias: Whether the convolutions of the stack have biases.
        input_bias: Whether the convolution before the stack has one.
        head_channels: Channels of the head's hidden layer; None for skip_channels.
        output_projection: Whether one more 1x1 convolution follows the head, as in SaShiMi's WaveNet (Goel et al.,
            2022, whose code is https://github.com/state-spaces/s4).
        groups: Channel groups of each dilated convolution.
        dropout: Fraction of the dilated convolutions' inputs that is set to 0 in training.
        residual_scale: Factor of each layer's residual output, such as sqrt(0.5).
        last_residual: Whether the last layer has a residual convolution, whose output is not used; see `ResidualStack`.
        weight_norm: Whether all convolutions of stack and head have normalised weights (Salimans and Kingma, 2016).
        make_layer: Builds each layer instead of `GatedResidualLayer`; see `ResidualStack`.
        make_stack: Builds the stack from the keyword arguments of `ResidualStack`; None uses that class. A custom
            stack must have its `forward`, `num_layers` and `receptive_field`.

    Attributes:
        receptive_field: Samples that one prediction can depend on. Without a context stack, they are those of the
            input convolution and the stack; each of the two stacks has a `receptive_field` of its own.
        margin: Samples on either side of a sample whose features affect its condition.
        metadata: How the model was made, as plain data: the recordings and their licences, the steps, the bits per
            sample in training; None if unknown. It is saved with the model and shown on its model card.

    Raises:
        ValueError: If a number is out of range, or a conditioner's channels, sample rate or name do not match.
    """

    @checked
    def __init__(
        self,
        distribution: OutputDistribution,
        sample_rate: SampleRate,
        conditioners: Mapping[str, Conditioner] | None = None,
        context: ContextStack | None = None,
        residual_channels: Channels = 64,
        gate_channels: GateChannels = 128,
        skip_channels: Channels = 256,
        condition_channels: Channels = 32,
        kernel_size: KernelSize = 2,
        dilation_cycle: DilationCycle = 10,
        num_cycles: NumCycles = 3,
        input_kernel_size: KernelSize = 1,
        bias: Flag = True,
        input_bias: Flag = True,
        head_channels: Channels | None = None,
        output_projection: Flag = False,
        groups: Groups = 1,
        dropout: Dropout = 0.0,
        residual_scale: ResidualScale = 1.0,
        last_residual: Flag = False,
        weight_norm: Flag = False,
        make_layer: Callable[..., nn.Module] | None = None,
        make_stack: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        conditioners = dict(conditioners or {})
        conditioning: dict[str, Any] = {f"conditioners.{name}": module for name, module in conditioners.items()}
        for place, module in (conditioning | ({} if context is None else {"context": context})).items():
            if module.condition_channels != condition_channels:
                raise ValueError(
                    f"WaveNet: {place}.condition_channels is {module.condition_channels}; "
                    f"it must be the model's {condition_channels}"
                )
            if getattr(module, "sample_rate", sample_rate) != sample_rate:
                raise ValueError(
                    f"WaveNet: {place}.sample_rate is {module.sample_rate}; it must be the model's {sample_rate}"
                )
        for name, conditioner in conditioners.items():
            if conditioner.name != name:
                raise ValueError(f"WaveNet: conditioners.{name}.name is '{conditioner.name}'; it must be '{name}'")
        self.sample_rate = sample_rate
        self.residual_channels = residual_channels
        self.gate_channels = gate_channels
        self.skip_channels = skip_channels
        self.condition_channels = condition_channels
        self.kernel_size = kernel_size
        self.dilation_cycle = dilation_cycle
        self.num_cycles = num_cycles
        self.input_kernel_size = input_kernel_size
        self.bias = bias
        self.input_bias = input_bias
        self.head_channels = head_channels
        self.output_projection = output_projection
        self.groups = groups
        self.dropout = dropout
        self.residual_scale = residual_scale
        self.last_residual = last_residual
        self.weight_norm = weight_norm
        self.make_layer = make_layer
        self.make_stack = make_stack
        self.metadata: dict[str, Any] | None = None

        self.distribution = distribution
        self.conditioners = nn.ModuleDict(conditioners)
        self.context = context
        self.input = CausalConv1d(distribution.in_channels, residual_channels, input_kernel_size, bias=input_bias)
        stack: Any = (make_stack or ResidualStack)(
            residual_channels=residual_channels,
            gate_channels=gate_channels,
            skip_channels=skip_channels,
            kernel_size=kernel_size,
            dilations=cycle_of_dilations(dilation_cycle, num_cycles),
            condition_channels=condition_channels if conditioners or context is not None else 0,
            bias=bias,
            groups=groups,
            dropout=dropout,
            residual_scale=residual_scale,
            last_residual=last_residual,
            make_layer=make_layer,
        )
        self.stack: ResidualStack = stack
        self.head = Head(
            skip_channels,
            skip_channels if head_channels is None else head_channels,
            distribution.parameter_channels,
            output_projection,
            distribution.needs_float32,
        )
        distribution.initialise(self.head[-1])  # pyright: ignore[reportArgumentType]
        if weight_norm:
            for module in [*self.input.modules(), *self.stack.modules(), *self.head.modules()]:
                if isinstance(module, nn.Conv1d):
                    normalise_weight(module)
        self.receptive_field = self.stack.receptive_field + input_kernel_size - 1
        if context is not None:  # layers after the first also depend on its output at earlier samples
            self.receptive_field = max(
                self.receptive_field, self.stack.receptive_field - kernel_size + context.receptive_field
            )
        self.margin = max((conditioner.margin for conditioner in conditioners.values()), default=0)

    def _repr_html_(self) -> str:
        """A table of the main numbers, for notebooks."""
        return model_table(self)

    @property
    def outer_modules(self) -> list[nn.Module]:
        """Modules that map samples to channels and channels to parameters: the input convolution, the last layers."""
        layers = [module for module in self.head.modules() if isinstance(module, nn.Conv1d)]
        return [self.input, *layers[1:]]

    @property
    def features(self) -> tuple[Features, ...]:
        """Features per frame that the conditioners need of a recording."""
        return tuple(c.features for c in self.conditioners.values() if c.features is not None)  # pyright: ignore

    def condition(
        self, conditions: Mapping[str, Any] | None, batch_size: int, dropout_uniform: Tensor | None = None
    ) -> Condition | None:
        """Return the sum of the conditioners' outputs for the named conditions.

        Args:
            conditions: Such as {"speaker": "p225", "mel": (n_mels, frames)}, one for all utterances,
                or {"speaker": ["p225", "p226"], "mel": (2, n_mels, frames)}.
            batch_size: B.
            dropout_uniform: See `wavenet.conditioning.Conditioner.forward`.

        Returns:
            The condition, or None if the model has no conditioners.

        Raises:
            ValueError: If a condition is missing or unknown.
        """
        total = None
        for conditioner in self.conditioners.values():
            part = conditioner(conditions or {}, batch_size, dropout_uniform)
            total = part if total is None else total + part
        return total

    def forward(
        self, waveform: Tensor, condition: Condition | None = None, state: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return, at each sample, the parameters of the distribution of the next one.

        Args:
            waveform: Samples in [-1, 1], (B, T).
            condition: The result of `condition`; its value at time t belongs to the sample that is predicted there.
            state: The layers' states after the previous piece, or None at the beginning.

        Returns:
            parameters (B, distribution.parameter_channels, T), where parameters[..., t] depends
            on waveform[:, :t + 1] only and describes sample t + 1; and the states for the next piece.
        """
        own, context_state = self.split_state(state)
        input_state, *stack_state = own or [None]
        condition, context_state = self.with_context(waveform, condition, context_state)
        x, input_state = self.input(self._encode(waveform), input_state)
        skips, stack_state = self.stack(x, condition, stack_state or None)
        return self._apply_head(skips), [input_state, *stack_state, *context_state]

    def with_context(
        self, waveform: Tensor, condition: Condition | None, state: list[Tensor] | None
    ) -> tuple[Condition | None, list[Tensor]]:
        """Add the context stack's output to a condition; without a context stack, return the condition unchanged.

        Args:
            waveform: Input samples, (B, T).
            condition: The condition of these samples, or None.
            state: The context stack's state, or None at the beginning.

        Returns:
            The condition of the whole stack, and the context stack's state for the next piece.
        """
        if self.context is None:
            return condition, []
        context_condition, new_state = self.context(waveform, state)
        return context_condition if condition is None else condition + context_condition, new_state

    def split_state(self, state: list[Tensor] | None) -> tuple[list[Tensor] | None, list[Tensor] | None]:
        """Split a state into those of input convolution and stack, and of the context stack; None at the beginning."""
        if state is None:
            return None, None
        own = 1 + self.stack.num_layers
        return state[:own], state[own:] or None

    @property
    def state_shapes(self) -> list[tuple[int, int]]:
        """Channels and samples of the states of the input convolution and of each layer."""
        return [self.input.state_shape, *self.stack.state_shapes]

    def _encode(self, waveform: Tensor) -> Tensor:
        """The network's input, (B, distribution.in_channels, T), in the precision of its weights."""
        dtype = next(self.input.parameters()).dtype
        return self.distribution.encode(waveform.to(torch.promote_types(waveform.dtype, dtype))).to(dtype)

    def _apply_head(self, skips: Tensor) -> Tensor:
        """Apply the head; if the distribution needs float32, a custom head is computed without autocast."""
        head: nn.Module = self.head
        if isinstance(head, Head) or not self.distribution.needs_float32:
            return head(skips)
        with torch.autocast(skips.device.type, enabled=False):
            return head(skips.to(next((parameter.dtype for parameter in head.parameters()), torch.float32)))

    def log_prob(
        self, waveform: Tensor, condition: Condition | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Log-probability of each sample given all samples before it.

        Args:
            waveform: (B, T) in [-1, 1].
            condition: The result of `condition`; its value at time t belongs to waveform[:, t].
            state: The state that an earlier call returned, to continue from; None at the beginning,
                where the sample before the first one counts as 0.

        Returns:
            (B, T) in nats, and the state after the last sample.
        """
        previous, layers = state if state is not None else (torch.zeros_like(waveform[:, :1]), None)
        inputs = torch.cat([previous, waveform[:, :-1]], dim=1)
        parameters, layers = self(inputs, condition, layers)
        return self.distribution.log_prob(parameters, waveform), State(waveform[:, -1:], layers)
