"""A mixture of discretised logistic distributions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet.distributions.mixture import Mixture


class LogisticMixture(Mixture):
    """Discretised logistics (PixelCNN++, Salimans et al., 2017, section 2.1; Parallel WaveNet, 2018, section 2.1).

    The probability of a level is the integral of the density over its bin; the lowest and the
    highest bin include everything beyond them. Samples between levels count as the nearest level.

    Args:
        num_mixtures: Components.
        bits: Resolution of the samples.
        encoding_channels: Functions of a sample that are the network's input.
        log_scale_min: Lower limit of the log-scale (of samples in [-1, 1]). -11 is half a bin of 16 bits.

    Raises:
        ValueError: If a number is out of range.
    """

    component_name = "logistic"
    first_log_scale = -4.0  # 0.02: narrow, because the loss grows only linearly with the distance

    def __init__(
        self, num_mixtures: int = 10, bits: int = 16, encoding_channels: int = 32, log_scale_min: float = -11.0
    ) -> None:
        super().__init__(num_mixtures, bits, encoding_channels, log_scale_min)

    def _log_prob_of_each(self, samples: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Log of sigmoid(b) - sigmoid(a), which is sigmoid(b) sigmoid(-a) (1 - exp(a - b)); a and b are a bin's ends.

        Nothing cancels in this form. The lowest bin's a is -infinity, the highest bin's b infinity.
        """
        half = 2 ** (self.bits - 1)
        level = (samples * half).round().clamp(-half, half - 1)
        lowest, highest = level == -half, level == half - 1
        narrowness = (-log_scales).exp()
        centre, width = (level / half - means) * narrowness, self.bin_width * narrowness
        below = F.logsigmoid(centre + width / 2).masked_fill(highest, 0)
        above = F.logsigmoid(width / 2 - centre).masked_fill(lowest, 0)
        between = torch.log(-torch.expm1(-width)).masked_fill(lowest | highest, 0)
        return below + above + between

    def _log_mass(self, below: Tensor, above: Tensor) -> Tensor:
        return F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(below - above))  # as for a bin

    def _log_density(self, z: Tensor) -> Tensor:
        return F.logsigmoid(z) + F.logsigmoid(-z)

    def _pull(self, z: Tensor) -> Tensor:
        return torch.where(z.abs() < 1e-4, 0.5 - z.square() / 24, torch.tanh(z / 2) / z)

    def _inverse_cumulative(self, p: Tensor) -> Tensor:
        return torch.logit(p)
