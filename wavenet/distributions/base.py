"""The contract of output distributions."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class OutputDistribution(nn.Module, ABC):
    """What a sample of audio may be, given the network's parameters.

    **Bits of different distributions.** A distribution over few classes says less about a sample
    than one over the 65536 levels of 16-bit audio, so its bits are fewer. `log2_levels` is the
    difference: how many bits it would take to say which of the class's 16-bit levels it is, if all
    of them are as likely.

    - Towards 16 bit: bits + mean(log2_levels) is what a model needs for the 16-bit samples
      themselves, and what models of any distribution can be compared in.
    - Towards mu-law: a model of 16-bit samples has log2_levels = 0. Its bits minus the mean of
      *mu-law's* log2_levels are what it needs for the mu-law class, as long as its density is even
      within a class. That is a good estimate where a scale is wider than the class, not a bound.

    Attributes:
        in_channels: Channels of the network's input, which `encode` makes.
        parameter_channels: Channels that it wants back from the network.
        num_uniforms: Random numbers that one sample needs.
        supports_top_k: Whether there are classes among which `top_k` could choose.
        needs_float32: Whether its parameters are finer than the 8 bits of a bfloat16's mantissa, so
            that the network's last layer has to be computed in float32 also where autocast rounds.
    """

    in_channels: int
    parameter_channels: int
    num_uniforms: int
    supports_top_k: bool = False
    needs_float32: bool = False

    @property
    @abstractmethod
    def baseline_bits(self) -> float:
        """Bits per sample of knowing nothing, which a model must beat."""

    def initialise(self, last: nn.Conv1d) -> None:
        """Prepare the network's last layer, whose outputs are the parameters; by default, leave it as it is."""
        del last

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """Turn samples (B, T) in [-1, 1] into the network's input (B, in_channels, T).

        Raises:
            ValueError: If a sample is outside [-1, 1] or not a number.
        """

    @abstractmethod
    def log_prob(self, parameters: Tensor, waveform: Tensor) -> Tensor:
        """Log-probability of samples, in nats.

        Args:
            parameters: From the network, (B, parameter_channels, T).
            waveform: (B, T) in [-1, 1].

        Returns:
            (B, T), float32 or float64.
        """

    def log_prob_of_levels(self, parameters: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Log-probability that each sample is one of a run of 16-bit levels, in nats.

        Args:
            parameters: From the network, (B, parameter_channels, T).
            low: The lowest level of each run, -2**15 to 2**15 - 1, whole, (B, T). The level k is the sample k / 2**15.
            high: The highest level of each run, likewise.

        Returns:
            (B, T), float32 or float64.

        Raises:
            ValueError: If the distribution does not say; names the reason.
        """
        del parameters, low, high
        raise ValueError(f"{type(self).__name__} does not say how likely a run of 16-bit levels is")

    @abstractmethod
    def log2_levels(self, waveform: Tensor) -> Tensor:
        """How many 16-bit levels count as the same sample as each of these, as a binary logarithm.

        Args:
            waveform: (B, T) in [-1, 1].

        Returns:
            (B, T), float32.
        """

    @abstractmethod
    def sample(
        self, parameters: Tensor, uniforms: Tensor, temperature: float | Tensor = 1.0, top_k: int | None = None
    ) -> Tensor:
        """Draw samples. The random numbers are an input: the same numbers make the same audio.

        Args:
            parameters: From the network, (B, parameter_channels, T).
            uniforms: (B, num_uniforms, T) in [0, 1).
            temperature: 1 is the distribution itself, less is more careful, 0 its mode. As a tensor, (), it
                is above 0: an exported graph has it as an input, and does not branch.
            top_k: Draw among this many of the likeliest values; None for all.

        Returns:
            (B, T) samples in [-1, 1].

        Raises:
            ValueError: If top_k is given and there are no classes to choose among.
        """


def takes_mode(temperature: float | Tensor) -> bool:
    """Whether a temperature is the number 0."""
    return not isinstance(temperature, Tensor) and temperature == 0


def at_least_float32(x: Tensor) -> Tensor:
    """Narrower floats as float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
