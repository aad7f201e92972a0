"""The dilated causal convolution: the only layer with a state."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.checks import check_positive_int
from wavenet.nn.unmodified import is_unmodified


class CausalConv1d(nn.Module):
    """A 1-D convolution whose output does not depend on later inputs (van den Oord et al., 2016, section 2.1).

    A convolution slides a small window over time. PyTorch expects channels before time:
    a batch of 32 sequences, 35 steps long with 256 features per step, is transposed first.
    A window of two steps then fits 34 times, so a plain convolution returns one step less.

    >>> sequences = torch.randn(32, 35, 256)              # (batch, time, features)
    >>> x = sequences.permute(0, 2, 1)                    # (batch, channels, time)
    >>> x.shape
    torch.Size([32, 256, 35])
    >>> nn.Conv1d(256, 100, kernel_size=2)(x).shape
    torch.Size([32, 100, 34])

    A causal convolution pads the missing steps in front: y[t] depends on x[t], x[t - dilation],
    x[t - 2 * dilation], ... and on nothing later, and y is as long as x.

    >>> y, state = CausalConv1d(256, 100, kernel_size=2)(x)
    >>> y.shape
    torch.Size([32, 100, 35])

    Those steps in front *are* the layer's state. By default they are zeros: silence before the
    beginning. With the state that an earlier call returned, they are the inputs just before x, so
    a long sequence may be processed in pieces, down to one step at a time, with the same outputs.

    The stride stays 1: there is one output for every input sample, because every sample is
    predicted. A larger stride would skip predictions, and the layers above would lose the
    sample grid that the state relies on. WaveNet's receptive field grows by dilation, not by stride.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Taps of the filter, in time order; the last one is the present sample.
        dilation: Distance between two taps, in samples.
        groups: Groups of channels that are convolved separately, as in `torch.nn.Conv1d`.
        bias: Whether a learned constant is added to each output channel.

    Raises:
        ValueError: If a number is not a whole number of at least 1, or if groups does not
            divide both channel counts.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive_int(
            "CausalConv1d",
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            dilation=dilation,
            groups=groups,
        )
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"CausalConv1d: {name} is {channels}; it must be a multiple of groups={groups}")
        self.in_channels = in_channels
        self.padding = (kernel_size - 1) * dilation
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation, groups=groups, bias=bias)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Convolve a sequence, or the next piece of one.

        Args:
            x: Input, (B, in_channels, T), T >= 1.
            state: The (kernel_size - 1) * dilation inputs before x, (B, in_channels, that many),
                as an earlier call returned it; None means that x begins the sequence.

        Returns:
            The output (B, out_channels, T), and the state for the next piece.

        Raises:
            ValueError: If the shape of x or state is wrong.
        """
        if x.dim() != 3 or x.shape[1] != self.in_channels:
            hint = " (time before channels? use x.permute(0, 2, 1))" if x.shape[-1] == self.in_channels else ""
            raise ValueError(f"CausalConv1d: x is {tuple(x.shape)}; it must be (B, {self.in_channels}, T){hint}")
        if state is None:
            state = x.new_zeros(x.shape[0], self.in_channels, self.padding)
        elif state.shape != (x.shape[0], self.in_channels, self.padding):
            expected = (x.shape[0], self.in_channels, self.padding)
            raise ValueError(f"CausalConv1d: state is {tuple(state.shape)}; for this x it must be {expected}")
        padded = torch.cat([state, x], dim=-1) if self.padding else x
        if is_unmodified(self.conv, nn.Conv1d):
            y = convolve(padded, self.conv.weight, self.conv.bias, self.conv.dilation[0], self.conv.groups)
        else:  # it was replaced, wrapped or given hooks
            y = self.conv(padded)
        return y, padded[..., padded.shape[-1] - self.padding :]

    @property
    def state_shape(self) -> tuple[int, int]:
        """Channels and samples of the state."""
        return self.in_channels, self.padding


class PointwiseConv1d(nn.Conv1d):
    """A convolution with one tap: a matrix applied to each time step separately (a "1x1" convolution).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bias: Whether a learned constant is added to each output channel.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, in_channels, T) to (B, out_channels, T)."""
        return convolve(input, self.weight, self.bias)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1, groups: int = 1) -> Tensor:
    """Convolve without padding, in the form that is fastest on the device of x; the tests compare all forms.

    The set-up of a convolution costs more than the arithmetic of a single step, so step-by-step
    generation uses a small matrix product instead. GPUs are built for matrix products, not for
    dilated convolutions.

    Args:
        x: (B, in_channels, T).
        weight: (out_channels, in_channels / groups, kernel_size).
        bias: (out_channels,), or None.
        dilation: Distance between two taps, in samples.
        groups: As in `torch.nn.Conv1d`.

    Returns:
        (B, out_channels, T - (kernel_size - 1) * dilation).
    """
    if groups == 1 and x.shape[-1] == (weight.shape[-1] - 1) * dilation + 1:
        return single_product(x, weight, bias, dilation)
    if groups == 1 and x.device.type != "cpu":
        return shifted_product(x, weight, bias, dilation)
    return F.conv1d(x, weight, bias, dilation=dilation, groups=groups)


def single_product(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Convolve an x that is exactly as long as the window, which gives one output step."""
    return F.linear(x[..., ::dilation].flatten(1), weight.flatten(1), bias).unsqueeze(-1)


def shifted_product(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Convolve by one matrix product with the taps' views of x, stacked along the channels."""
    taps = weight.shape[-1]
    length = x.shape[-1] - (taps - 1) * dilation
    views = [x[..., tap * dilation : tap * dilation + length] for tap in range(taps)]
    stacked = torch.cat(views, dim=1) if taps > 1 else x
    matrix = weight.transpose(1, 2).flatten(1).expand(len(x), -1, -1)
    return torch.bmm(matrix, stacked) if bias is None else torch.baddbmm(bias[:, None], matrix, stacked)
