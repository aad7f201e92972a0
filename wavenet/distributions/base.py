"""The contract of output distributions."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class OutputDistribution(nn.Module, ABC):
    """What a sample of audio may be, given the network's parameters.

    Attributes:
        in_channels: Channels of the network's input, which `encode` makes.
        parameter_channels: Channels that it wants back from the network.
        num_uniforms: Random numbers that one sample needs.
    """

    in_channels: int
    parameter_channels: int
    num_uniforms: int

    @property
    @abstractmethod
    def baseline_bits(self) -> float:
        """Bits per sample of knowing nothing, which a model must beat."""

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

    @abstractmethod
    def sample(
        self, parameters: Tensor, uniforms: Tensor, temperature: float = 1.0, top_k: int | None = None
    ) -> Tensor:
        """Draw samples. The random numbers are an input: the same numbers make the same audio.

        Args:
            parameters: From the network, (B, parameter_channels, T).
            uniforms: (B, num_uniforms, T) in [0, 1).
            temperature: 1 is the distribution itself, less is more careful, 0 its mode.
            top_k: Draw among this many of the likeliest values; None for all.

        Returns:
            (B, T) samples in [-1, 1].
        """
