"""The interface of output distributions."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class OutputDistribution(nn.Module, ABC):
    """A distribution of a sample of audio, given by the network's output.

    **Bits of different distributions.** A distribution over few classes describes a sample less
    precisely than one over the 65536 levels of 16-bit audio, so it needs fewer bits. `log2_levels`
    is the difference: the bits needed to select one of the class's 16-bit levels, if all of them
    are equally likely.

    - To 16 bit: bits + mean(log2_levels) is what a model needs for the 16-bit samples themselves;
      in this unit, models of all distributions can be compared.
    - To mu-law: a model of 16-bit samples has log2_levels = 0. Its bits minus the mean of
      *mu-law's* log2_levels are what it needs for the mu-law class, as long as its density is
      uniform within a class. That is a good estimate where a scale is wider than the class, not a
      bound.

    Attributes:
        in_channels: Channels of the network's input, which `encode` returns.
        parameter_channels: Channels of the network's output, the parameters of the distribution.
        num_uniforms: Random numbers needed to draw one sample.
        supports_top_k: Whether there are classes for `top_k` to choose from.
        needs_float32: Whether its parameters need more precision than the 8 bits of a bfloat16's mantissa,
            so that the network's last layer has to be computed in float32 also under autocast.
    """

    in_channels: int
    parameter_channels: int
    num_uniforms: int
    supports_top_k: bool = False
    needs_float32: bool = False

    @property
    def label(self) -> str:
        """What pages and model cards call it, such as "256 mu-law classes"; by default the name of the class."""
        return type(self).__name__

    @property
    @abstractmethod
    def baseline_bits(self) -> float:
        """Bits per sample of the baseline, a uniform guess; a trained model needs fewer."""

    def initialise(self, last: nn.Conv1d) -> None:
        """Initialise the network's last layer, whose outputs are the parameters; by default, leave it unchanged."""
        del last

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """Convert samples (B, T) in [-1, 1] to the network's input (B, in_channels, T).

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
            ValueError: If the distribution does not define it; gives the reason.
        """
        del parameters, low, high
        raise ValueError(f"{self.label} has no probability for a run of 16-bit levels")

    @abstractmethod
    def log2_levels(self, waveform: Tensor) -> Tensor:
        """Return the number of 16-bit levels that count as the same sample as each of these, as a binary logarithm.

        Args:
            waveform: (B, T) in [-1, 1].

        Returns:
            (B, T), float32.
        """

    @abstractmethod
    def sample(
        self, parameters: Tensor, uniforms: Tensor, temperature: float | Tensor = 1.0, top_k: int | None = None
    ) -> Tensor:
        """Draw samples. The random numbers are an input: the same numbers give the same audio.

        Args:
            parameters: From the network, (B, parameter_channels, T).
            uniforms: (B, num_uniforms, T) in [0, 1).
            temperature: 1 is the distribution itself, below 1 likely values become likelier, 0 is its mode. As a
                tensor, (), it is above 0: an exported graph has it as an input, and does not branch.
            top_k: Draw from this many of the most likely values; None for all.

        Returns:
            (B, T) samples in [-1, 1].

        Raises:
            ValueError: If top_k is given and there are no classes to choose from.
        """


def takes_mode(temperature: float | Tensor) -> bool:
    """Return whether the temperature is the number 0, which means the mode."""
    return not isinstance(temperature, Tensor) and temperature == 0


def at_least_float32(x: Tensor) -> Tensor:
    """Convert narrower floats to float32; leave float64 unchanged."""
    return x if x.dtype == torch.float64 else x.float()
