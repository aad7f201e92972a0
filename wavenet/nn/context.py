"""The context stack: a small network with a long receptive field at a low rate, which conditions the large one."""

from typing import Annotated

import torch
from torch import Tensor, nn

from wavenet.audio import mu_law_compand
from wavenet.bounds import Channels, DilationCycle, GateChannels, KernelSize, NumCycles, checked
from wavenet.nn.causal_conv import PointwiseConv1d
from wavenet.nn.condition import Condition, batch_conditions
from wavenet.nn.stack import ResidualStack, cycle_of_dilations
from wavenet.types import Integer


class ContextStack(nn.Module):
    """A smaller stack with a long receptive field (van den Oord et al., 2016, section 2.6).

    A strided convolution pools `pool` samples into one frame, causal gated layers run over the
    frames, and their output after a frame conditions the samples of the next one. So the large
    stack is conditioned on a long past at little cost: this one runs once per `pool` samples.

    Its state is a list: the samples of the unfinished frame (B, pool), aligned right; their
    number (B, 1), int64; the condition of the present frame (B, condition_channels, 1); and
    the states of its stack.

    Args:
        condition_channels: Channels of the output.
        pool: Samples per frame.
        residual_channels: See `ResidualStack`.
        gate_channels: See `ResidualStack`.
        skip_channels: See `ResidualStack`.
        kernel_size: See `ResidualStack`.
        dilation_cycle: Layers in a cycle; dilations are 1, 2, 4, ... frames.
        num_cycles: How many times the cycle is repeated.

    Attributes:
        receptive_field: Samples that its output can depend on, the present one included.

    Raises:
        ValueError: If a number is out of range.
    """

    @checked
    def __init__(
        self,
        condition_channels: Channels,
        pool: Annotated[int, Integer(1, 65536)] = 64,
        residual_channels: Channels = 16,
        gate_channels: GateChannels = 32,
        skip_channels: Channels = 32,
        kernel_size: KernelSize = 2,
        dilation_cycle: DilationCycle = 7,
        num_cycles: NumCycles = 1,
    ) -> None:
        super().__init__()
        self.condition_channels = condition_channels
        self.pool = pool
        self.residual_channels = residual_channels
        self.gate_channels = gate_channels
        self.skip_channels = skip_channels
        self.kernel_size = kernel_size
        self.dilation_cycle = dilation_cycle
        self.num_cycles = num_cycles
        dilations = cycle_of_dilations(dilation_cycle, num_cycles)
        self.pooling = nn.Conv1d(1, residual_channels, pool, stride=pool)
        self.stack = ResidualStack(residual_channels, gate_channels, skip_channels, kernel_size, dilations)
        self.head = nn.Sequential(nn.ReLU(), PointwiseConv1d(skip_channels, condition_channels))
        self.receptive_field = (self.stack.receptive_field + 1) * pool

    def forward(self, waveform: Tensor, state: list[Tensor] | None = None) -> tuple[Condition, list[Tensor]]:
        """Compute the condition of each sample from the samples before it.

        Args:
            waveform: (B, T) in [-1, 1].
            state: The state after the previous piece, or None at the beginning.

        Returns:
            The condition of these T samples, and the state for the next piece. Sample t's condition
            depends on the frames that ended before it, and so not on the future.
        """
        if state is None:
            return self.run(waveform, self.beginning(waveform), 0)
        phases = state[1].flatten().tolist()
        if all(phase == phases[0] for phase in phases):
            return self.run(waveform, state, phases[0])
        single = [self.run(x[None], [part[k : k + 1] for part in state], phases[k]) for k, x in enumerate(waveform)]
        new_state = [torch.cat(parts) for parts in zip(*(state for _, state in single), strict=True)]
        return batch_conditions([condition for condition, _ in single], waveform.shape[1]), new_state

    def beginning(self, waveform: Tensor) -> list[Tensor]:
        """Return the state before the first of these samples (B, T): no past samples, and a condition of zeros."""
        batch, weight = waveform.shape[0], self.pooling.weight
        return [
            weight.new_zeros(batch, self.pool),
            torch.zeros(batch, 1, dtype=torch.int64, device=weight.device),
            weight.new_zeros(batch, self.condition_channels, 1),
            *(weight.new_zeros(batch, *shape) for shape in self.stack.state_shapes),
        ]

    def run(self, waveform: Tensor, state: list[Tensor], phase: int) -> tuple[Condition, list[Tensor]]:
        """Run `forward` where all utterances are at the same position in a frame.

        Args:
            waveform: See `forward`.
            state: The state after the previous piece.
            phase: Number of samples in the unfinished frame, which the state holds as a tensor.

        Returns:
            See `forward`.
        """
        unfinished, _, context_condition, *stack_state = state
        weight = self.pooling.weight
        samples = torch.cat([unfinished[:, self.pool - phase :], waveform.to(weight.dtype)], dim=1)
        frames, left = divmod(samples.shape[1], self.pool)
        values = context_condition
        if frames:
            pooled = self.pooling(mu_law_compand(samples[:, : frames * self.pool]).unsqueeze(1).to(weight.dtype))
            skips, stack_state = self.stack(pooled, None, stack_state)
            values = torch.cat([values, self.head(skips).to(values.dtype)], dim=-1)
        condition = Condition(values, self.pool, phase)
        recent = torch.cat([unfinished, samples[:, samples.shape[1] - left :]], dim=1)[:, -self.pool :]
        return condition, [recent, torch.full_like(state[1], left), values[..., -1:], *stack_state]
