"""A mixture of Gaussian densities, or a single one."""

import math

import torch
from torch import Tensor

from wavenet.distributions.mixture import Mixture

_EVEN = 1e-5  # the relative error of density times width is a 24th of its square


class GaussianMixture(Mixture):
    """Gaussian densities; a single one is ClariNet's output (Ping et al., 2019, section 3.1).

    A log-probability is the log-density at the sample plus the logarithm of the bins' width: that of
    a level, as long as the scale is not small compared with a bin. So its bits are comparable with
    those of discretised distributions; its integral, not its sum over levels, is 1.

    Args:
        num_mixtures: Components; 1 is the single Gaussian.
        bits: Resolution of the samples.
        encoding_channels: Functions of a sample that are the network's input.
        log_scale_min: Lower limit of the log-scale (of samples in [-1, 1]). -9 is four bins of 16 bits.

    Raises:
        ValueError: If a number is out of range.
    """

    component_name = "Gaussian"
    first_log_scale = -2.0  # 0.14, about the RMS of speech: the loss grows with the square of the distance

    def __init__(
        self, num_mixtures: int = 1, bits: int = 16, encoding_channels: int = 32, log_scale_min: float = -9.0
    ) -> None:
        super().__init__(num_mixtures, bits, encoding_channels, log_scale_min)

    def _log_prob_of_each(self, samples: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        z = (samples - means) * (-log_scales).exp()
        return self._log_density(z) - log_scales + math.log(self.bin_width / math.sqrt(2 * math.pi))

    def _log_mass(self, below: Tensor, above: Tensor) -> Tensor:
        """Log of the difference of two cumulative probabilities, computed in the tail in which both are small.

        Where that would cancel, on an interval over which the density hardly changes, it is density times width.
        """
        upper = below > 0
        below, above = torch.where(upper, -above, below), torch.where(upper, -below, above)
        top, bottom = torch.special.log_ndtr(above), torch.special.log_ndtr(below)
        apart = top + torch.log(-torch.expm1(bottom - top))
        width, middle = above - below, (above + below) / 2
        even = width * (1 + middle.abs()) < _EVEN  # not where an end is infinite
        flat = self._log_density(middle) - math.log(2 * math.pi) / 2 + width.log()
        return torch.where(even, flat, apart)

    def _log_density(self, z: Tensor) -> Tensor:
        return -z.square() / 2

    def _pull(self, z: Tensor) -> Tensor:
        return torch.ones_like(z)

    def _inverse_cumulative(self, p: Tensor) -> Tensor:
        return torch.special.ndtri(p)
