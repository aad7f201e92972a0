"""The base class of mixtures over 16-bit samples."""

import math
from abc import abstractmethod
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.audio import check_samples, mu_law_compand, mu_law_decode
from wavenet.bounds import Channels, checked
from wavenet.distributions.base import OutputDistribution, at_least_float32, takes_mode
from wavenet.distributions.features import root_mean_square, smooth_features
from wavenet.types import Integer, Real

LOG_SCALE_MAX = 30.0  # so that no scale, and no ratio of a bin to it, becomes 0 or infinite in float32
CLIMBS = 100  # steps to a mode at most; a few are enough except where two components almost merge
ARRIVED = 2.0**-10  # levels; a step shorter than this is the last one


class Mixture(OutputDistribution):
    """A mixture of K bell curves over the levels k / 2**(bits - 1) of PCM audio; the samples are of full resolution.

    The parameters are K unnormalised log-weights, K means (of samples in [-1, 1]) and K raw
    log-scales, in this order; a single component has no weight. The log-scale is
    log_scale_min + softplus(raw - log_scale_min), at most 30: a lower limit whose gradient never vanishes.

    The network's input has no weights of its own: it is a few fixed smooth functions of the sample
    (see `smooth_features`), so its resolution is that of the samples.

    Args:
        num_mixtures: K.
        bits: Resolution of the samples; 16 for CD quality.
        encoding_channels: Functions of a sample that are the network's input.
        log_scale_min: Lower limit of the log-scale (of samples in [-1, 1]).

    Raises:
        ValueError: If a number is out of range.
    """

    num_uniforms = 2
    needs_float32 = True
    first_log_scale: float  # of a new model; a network's last layer begins around 0
    component_name: str | None = None  # what `label` calls a component; None: it is the name of the class

    @checked
    def __init__(
        self,
        num_mixtures: Annotated[int, Integer(1, 1024)],
        bits: Annotated[int, Integer(2, 16)],
        encoding_channels: Channels,
        log_scale_min: Annotated[float, Real(-LOG_SCALE_MAX, 0, example=-9)],
    ) -> None:
        super().__init__()
        self.num_mixtures = num_mixtures
        self.bits = bits
        self.encoding_channels = encoding_channels
        self.log_scale_min = log_scale_min
        self.in_channels = encoding_channels
        self.parameter_channels = (3 if num_mixtures > 1 else 2) * num_mixtures
        amplitude = mu_law_decode(torch.arange(256, device="cpu"))
        columns = smooth_features(torch.linspace(-1, 1, 256, device="cpu"), amplitude, encoding_channels)
        self._sizes = [root_mean_square(column).item() for column in columns]

    @property
    def label(self) -> str:
        """Such as "mixture of 10 logistics over 16-bit samples"."""
        if self.component_name is None:
            return super().label
        several = self.num_mixtures > 1
        kind = f"mixture of {self.num_mixtures} {self.component_name}s" if several else f"single {self.component_name}"
        return f"{kind} over {self.bits}-bit samples"

    @property
    def baseline_bits(self) -> float:
        """Bits per sample of the uniform distribution."""
        return float(self.bits)

    @property
    def bin_width(self) -> float:
        """Distance from one level to the next."""
        return 2.0 ** (1 - self.bits)

    @torch.no_grad()
    def initialise(self, last: nn.Conv1d) -> None:
        """Initialise the scales to the level of speech: from a scale of 1, many steps would go into narrowing it."""
        if last.bias is not None:
            last.bias[-self.num_mixtures :] += self.first_log_scale

    def levels(self) -> Tensor:
        """Return all values that `sample` may return, in ascending order: (2**bits,)."""
        half = 2 ** (self.bits - 1)
        return torch.arange(-half, half) * self.bin_width

    def encode(self, waveform: Tensor) -> Tensor:
        """Encode samples as smooth functions of about unit variance: (B, T) in [-1, 1] -> (B, encoding_channels, T)."""
        waveform = at_least_float32(waveform)
        columns = smooth_features(mu_law_compand(waveform), waveform, self.encoding_channels)
        return torch.stack([column / size for column, size in zip(columns, self._sizes, strict=True)], dim=1)

    def log2_levels(self, waveform: Tensor) -> Tensor:
        """Return 16 - bits for all samples (B, T): 0 for 16 bits, where each level is a sample of its own."""
        return torch.full_like(waveform, 16 - self.bits, dtype=torch.float32)

    def log_prob(self, parameters: Tensor, waveform: Tensor) -> Tensor:
        """Log-probability of samples, in nats.

        Args:
            parameters: Log-weights, means and raw log-scales, (B, parameter_channels, T).
            waveform: (B, T) in [-1, 1].

        Returns:
            (B, T), float32 (float64 for float64 parameters).

        Raises:
            ValueError: If a sample is outside [-1, 1] or not a number.
        """
        check_samples("log_prob", waveform)
        log_weights, means, log_scales = self.components(at_least_float32(parameters))
        each = self._log_prob_of_each(waveform.to(means).unsqueeze(1), means, log_scales)
        return (log_weights + each).logsumexp(dim=1)

    def log_prob_of_levels(self, parameters: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """See `OutputDistribution`: the integral from half a level below to half a level above, in float64.

        The lowest and the highest of all levels include everything beyond them, as in `sample`. For a
        discretised distribution, this is exactly the sum over the levels.

        Raises:
            ValueError: If the distribution's own levels are not those of 16 bits.
        """
        if self.bits != 16:
            raise ValueError(f"a distribution of {self.bits}-bit samples has no probability for a run of 16-bit levels")
        log_weights, means, log_scales = self.components(parameters.double())
        below = ((low.double() - 0.5) / 2**15).masked_fill(low == -(2**15), -math.inf)
        above = ((high.double() + 0.5) / 2**15).masked_fill(high == 2**15 - 1, math.inf)
        below, above = ((end.unsqueeze(1) - means) * (-log_scales).exp() for end in (below, above))
        return (log_weights + self._log_mass(below, above)).logsumexp(dim=1)

    def sample(
        self, parameters: Tensor, uniforms: Tensor, temperature: float | Tensor = 1.0, top_k: int | None = None
    ) -> Tensor:
        """Draw samples: the first random number chooses a component, the second a value of it.

        A temperature T means the density to the power of 1 / T, as if the components did not
        overlap: the scales become s sqrt(T) (exact for Gaussians; for logistics it has the same
        curvature at the mode), and the weights follow. T = 0 is the mode of the whole mixture.

        Args:
            parameters: Log-weights, means and raw log-scales, (B, parameter_channels, T).
            uniforms: (B, 2, T) in [0, 1).
            temperature: 1 draws from the distribution itself, below 1 likely values become likelier, 0 takes its mode.
            top_k: None.

        Returns:
            (B, T) levels, float32.

        Raises:
            ValueError: If top_k is given.
        """
        if top_k is not None:
            raise ValueError(
                f"top_k is {top_k}, but the output distribution, {self.label}, has no classes to choose among; use "
                "top_k=null and a temperature below 1"
            )
        log_weights, means, log_scales = self.components(parameters.double())
        if takes_mode(temperature):
            return self._nearest_level(self._mode(log_weights, means, log_scales))
        heights = log_weights - log_scales
        heights = heights - heights.amax(dim=1, keepdim=True)  # so that a small temperature cannot overflow
        cumulative = (heights / temperature + log_scales).softmax(dim=1).cumsum(dim=1)
        drawn = uniforms[:, :1].double() * cumulative[:, -1:]
        chosen = (cumulative <= drawn).sum(dim=1, keepdim=True).clamp(max=self.num_mixtures - 1)
        mean, scale = means.gather(1, chosen), log_scales.gather(1, chosen).exp() * temperature**0.5
        return self._nearest_level((mean + scale * self.standard_variates(uniforms[:, 1:])).squeeze(1))

    def standard_variates(self, uniforms: Tensor) -> Tensor:
        """Return values of the component with mean 0 and scale 1, by its inverse cumulative distribution.

        A uniform random number of float32 represents an interval of 2**-24. Its midpoint is used, so
        that neither end is infinite, which would be audible as a click.

        Args:
            uniforms: In [0, 1), any shape.

        Returns:
            The uniforms' shape, float32 (float64 for float64), computed in float64.
        """
        return self._inverse_cumulative(uniforms.double() + 2.0**-25).to(at_least_float32(uniforms).dtype)

    def components(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-weights, means and log-scales, (B, K, T) each, from the parameters (B, parameter_channels, T)."""
        *logits, means, raw = parameters.chunk(self.parameter_channels // self.num_mixtures, dim=1)
        log_weights = logits[0].log_softmax(dim=1) if logits else torch.zeros_like(means)
        log_scales = self.log_scale_min - F.logsigmoid(self.log_scale_min - raw)  # softplus(x) = -logsigmoid(-x)
        return log_weights, means, log_scales.clamp(max=LOG_SCALE_MAX)

    def _mode(self, log_weights: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Find the maximum of the density, (B, T): climb to a peak from each mean, and take the highest.

        A step is one of expectation maximisation ("mean shift"; Carreira-Perpinan, 2000), because
        both types are mixtures of Gaussians: a logistic is a mixture over scales.
        """
        heights, centres, scales = (x.unsqueeze(1) for x in (log_weights - log_scales, means, log_scales.exp()))
        at = means
        climbing = torch.ones_like(at, dtype=torch.bool)
        for _ in range(CLIMBS):
            z = (at.unsqueeze(2) - centres) / scales  # (B, starts, K, T)
            pull = (heights + self._log_density(z)).softmax(dim=2) * self._pull(z) / scales.square()
            higher = (pull * centres).sum(dim=2) / pull.sum(dim=2)
            arrived = (higher - at).abs() <= ARRIVED * self.bin_width
            at = torch.where(climbing, higher, at)
            climbing = climbing & ~arrived
            if not bool(climbing.any()):
                break
        z = (at.unsqueeze(2) - centres) / scales
        best = (heights + self._log_density(z)).logsumexp(dim=2).argmax(dim=1, keepdim=True)
        return at.gather(1, best).squeeze(1)

    def _nearest_level(self, samples: Tensor) -> Tensor:
        """Round samples to levels, float32; those beyond the ends become the ends."""
        half = 2 ** (self.bits - 1)
        return ((samples * half).round().clamp(-half, half - 1) / half).float()

    @abstractmethod
    def _log_prob_of_each(self, samples: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Log-probability of samples (B, 1, T) under each component: (B, K, T), nats."""

    @abstractmethod
    def _log_mass(self, below: Tensor, above: Tensor) -> Tensor:
        """Logarithm of the standard component's probability between two values, which may be infinite; float64."""

    @abstractmethod
    def _log_density(self, z: Tensor) -> Tensor:
        """Logarithm of the standard component's density, up to a constant."""

    @abstractmethod
    def _pull(self, z: Tensor) -> Tensor:
        """-(d log density / dz) / z of the standard component."""

    @abstractmethod
    def _inverse_cumulative(self, p: Tensor) -> Tensor:
        """Value of the standard component below which its probability is p."""
