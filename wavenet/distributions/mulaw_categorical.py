"""A softmax over mu-law classes."""

import functools
import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wavenet.audio import mu_law_decode, mu_law_encode
from wavenet.bounds import Channels, checked
from wavenet.distributions.base import OutputDistribution, at_least_float32, takes_mode
from wavenet.distributions.features import root_mean_square, smooth_features
from wavenet.types import Integer

_PIECE = 2**18  # logits that are processed at once: 1 MB of float32, which stays in a CPU's cache


class MuLawCategorical(OutputDistribution):
    """The paper's output: a categorical distribution over mu-law classes (section 2.2).

    The network's input is an embedding of the class: the product of a one-hot vector and a matrix,
    computed without the one-hot vector. The matrix is initialised with smooth functions of the level
    instead of noise: neighbouring levels have similar embeddings from the start, which speeds up training.

    Args:
        num_classes: Number of mu-law classes; the maximum is the resolution of 16-bit audio.
        embedding_channels: Channels of the embedding, which is the network's input.

    Raises:
        ValueError: If a number is out of range.
    """

    num_uniforms = 1
    supports_top_k = True

    @checked
    def __init__(self, num_classes: Annotated[int, Integer(2, 65536)] = 256, embedding_channels: Channels = 64) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding_channels = embedding_channels
        self.in_channels = embedding_channels
        self.parameter_channels = num_classes
        self.embedding = nn.Embedding(num_classes, embedding_channels)
        if self.embedding.weight.is_meta:  # without values, computing the columns would only take time
            return
        with torch.no_grad():
            self.embedding.weight.copy_(_smooth_embedding(num_classes, embedding_channels))

    @property
    def label(self) -> str:
        """Such as "256 mu-law classes"."""
        return f"{self.num_classes} mu-law classes"

    @property
    def baseline_bits(self) -> float:
        """Bits per sample of the uniform distribution."""
        return math.log2(self.num_classes)

    def encode(self, waveform: Tensor) -> Tensor:
        """Embed samples: (B, T) in [-1, 1] -> (B, embedding_channels, T)."""
        return self.embedding(mu_law_encode(waveform, self.num_classes)).transpose(1, 2)

    def log_prob(self, parameters: Tensor, waveform: Tensor) -> Tensor:
        """Log-probability of each sample's class, in nats.

        Args:
            parameters: Unnormalised log-probabilities, (B, num_classes, T).
            waveform: (B, T) in [-1, 1].

        Returns:
            (B, T), float32 (float64 for float64 parameters).
        """
        classes = mu_law_encode(waveform, self.num_classes)
        if torch.compiler.is_compiling():  # the compiler fuses it into one loop without intermediate results
            return -F.cross_entropy(at_least_float32(parameters), classes, reduction="none")
        log_prob = _CategoricalLogProb.apply(parameters, classes)
        assert isinstance(log_prob, Tensor)
        return log_prob

    def log2_levels(self, waveform: Tensor) -> Tensor:
        """Return how many of the 65536 levels of 16-bit audio are in each sample's class: (B, T), log2."""
        return _log2_levels(self.num_classes, waveform.device)[mu_law_encode(waveform, self.num_classes)]

    def log_prob_of_levels(self, parameters: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """See `OutputDistribution`: the sum over the classes that consist of the levels.

        Raises:
            ValueError: If a run begins or ends within a class, or a class has no level.
        """
        first, last = (mu_law_encode(level.double() / 2**15, self.num_classes) for level in (low, high))
        lowest, highest = _ends(self.num_classes, low.device)
        whole = torch.equal(lowest[first], low) and torch.equal(highest[last], high)
        if not whole or bool((lowest > highest).any()):
            raise ValueError(
                f"{self.num_classes} mu-law classes have no probability for these runs of 16-bit levels, "
                "which do not consist of whole classes"
            )
        numbers = torch.arange(self.num_classes, device=low.device)[:, None]
        outside = (numbers < first.unsqueeze(1)) | (numbers > last.unsqueeze(1))
        return at_least_float32(parameters).log_softmax(dim=1).masked_fill(outside, -math.inf).logsumexp(dim=1)

    def levels(self) -> Tensor:
        """Return all values that `sample` may return, in ascending order: (num_classes,)."""
        return mu_law_decode(torch.arange(self.num_classes), self.num_classes)

    def sample(
        self, parameters: Tensor, uniforms: Tensor, temperature: float | Tensor = 1.0, top_k: int | None = None
    ) -> Tensor:
        """Draw samples by inverting the cumulative distribution at the given uniforms.

        Args:
            parameters: Unnormalised log-probabilities, (B, num_classes, T).
            uniforms: (B, 1, T) in [0, 1).
            temperature: Divides the log-probabilities: 1 is the model's own distribution, below 1 likely
                classes become likelier, 0 takes the most likely class.
            top_k: Draw from this many of the most likely classes; None for all.

        Returns:
            (B, T) samples in [-1, 1].
        """
        logits = at_least_float32(parameters).transpose(1, 2)
        if takes_mode(temperature):
            return mu_law_decode(logits.argmax(dim=-1), self.num_classes)
        if top_k is not None and top_k < self.num_classes:
            kept, classes = logits.topk(top_k, dim=-1)
            logits = torch.full_like(logits, -math.inf).scatter(-1, classes, kept)
        logits = logits - logits.amax(dim=-1, keepdim=True)  # so that a small temperature cannot overflow
        cumulative = (logits / temperature).softmax(dim=-1).cumsum(dim=-1)
        drawn = uniforms.transpose(1, 2).to(cumulative) * cumulative[..., -1:]
        classes = torch.searchsorted(cumulative, drawn, right=True).squeeze(-1)
        return mu_law_decode(classes, self.num_classes)


class _CategoricalLogProb(torch.autograd.Function):
    """Log-probabilities (B, T) of classes (B, T) from logits (B, P, T), piece by piece.

    Nothing as large as the logits is stored besides them and their gradient, and narrower logits are
    converted to float32 only one piece at a time.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, classes: Tensor) -> Tensor:
        pieces = _pieces(logits)
        total = torch.cat([at_least_float32(logits[..., piece]).logsumexp(dim=1) for piece in pieces], dim=1)
        ctx.save_for_backward(logits, classes, total)
        return logits.gather(1, classes.unsqueeze(1)).squeeze(1).to(total.dtype) - total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, classes, total = ctx.saved_tensors
        grad = grads[0].unsqueeze(1)
        out = torch.empty_like(logits)
        for piece in _pieces(logits):
            share = (at_least_float32(logits[..., piece]) - total[:, None, piece]).exp_().mul_(-grad[..., piece])
            out[..., piece] = share.scatter_add_(1, classes[:, None, piece], grad[..., piece])
        return out, None


def _pieces(logits: Tensor) -> list[slice]:
    """Return slices of time with about _PIECE logits each."""
    batch, channels, samples = logits.shape
    length = max(1, _PIECE // max(1, batch * channels))
    return [slice(start, start + length) for start in range(0, samples, length)]


def _smooth_embedding(num_classes: int, channels: int) -> Tensor:
    """Return smooth functions of the level, of unit variance: (num_classes, channels)."""
    amplitude = mu_law_decode(torch.arange(num_classes), num_classes)
    columns = smooth_features(torch.linspace(-1, 1, num_classes), amplitude, channels)
    return torch.stack([column / root_mean_square(column) for column in columns], dim=1)


@functools.lru_cache(maxsize=16)
def _log2_levels(num_classes: int, device: torch.device) -> Tensor:
    """Return for each class how many of the 65536 levels of 16-bit audio fall into it: (num_classes,), log2.

    Where classes are finer than 16 bits, those without a level count as one.
    """
    with torch.inference_mode(False):
        lowest, highest = _ends(num_classes, torch.device("cpu"))
        return (highest - lowest + 1).clamp(min=1).log2().to(device)


@functools.lru_cache(maxsize=16)
def _ends(num_classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest 16-bit level of each class, (num_classes,) each; low > high where there is none."""
    with torch.inference_mode(False):
        classes = mu_law_encode(torch.arange(-(2**15), 2**15, device="cpu") / 2**15, num_classes)
        above = classes.bincount(minlength=num_classes).cumsum(0) - 2**15  # levels ascend with classes
        below = torch.cat([above.new_tensor([-(2**15)]), above[:-1]])
        return below.to(device), (above - 1).to(device)
