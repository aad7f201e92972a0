"""Other networks of the same shape, in a form that `WaveNetTraining` trains."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from scripts.benchmarks.plain import PlainConv1d, vocoder, vocoder_log_prob
from wavenet.conditioning import CategoricalEmbedding
from wavenet.distributions import MuLawCategorical
from wavenet.model import WaveNet
from wavenet.nn import Condition

_SIZES = ("residual_channels", "gate_channels", "skip_channels", "kernel_size", "dilation_cycle", "num_cycles")


class Peer(nn.Module):
    """A network that is not ours, with what `WaveNetTraining` and the score need of a model.

    Args:
        network: The network.
        log_prob: Function of waveforms (B, T) and speaker vectors (B, C, 1): log-probabilities (B, T).
        speaker: The speakers' vectors.
        outer: Modules of the network that touch samples or classes; see `WaveNet.outer_modules`.
    """

    def __init__(
        self,
        network: nn.Module,
        log_prob: Callable[[Tensor, Tensor], Tensor],
        speaker: CategoricalEmbedding,
        outer: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.network, self.speaker, self.metadata = network, speaker, None
        self._log_prob, self._outer = log_prob, tuple(outer)
        self._distribution = (MuLawCategorical(),)  # in a tuple, as its own weights are not the network's

    @property
    def distribution(self) -> MuLawCategorical:
        """The output distribution."""
        return self._distribution[0]

    @property
    def outer_modules(self) -> list[nn.Module]:
        """Modules that touch samples or classes."""
        return list(self._outer)

    def condition(self, conditions: Any, batch_size: int, dropout_uniform: Tensor | None = None) -> Condition:
        """Return the speakers' vectors."""
        return self.speaker(conditions, batch_size, dropout_uniform)

    def log_prob(self, waveform: Tensor, condition: Condition, state: None = None) -> tuple[Tensor, None]:
        """Return the log-probabilities of whole waveforms in nats, (B, T), and no state: nothing is streamed."""
        return self._log_prob(waveform, condition.values), None


def make_peer(name: str, model: WaveNet) -> Peer:
    """Return another network of a model's shape, conditioned on the same speakers.

    Args:
        name: "conv1d" or "wavenet-vocoder".
        model: Gives the sizes and the speakers.
    """
    sizes = {size: getattr(model, size) for size in _SIZES}
    given = model.conditioners["speaker"]
    assert isinstance(given, CategoricalEmbedding)
    speaker = CategoricalEmbedding("speaker", given.categories, given.condition_channels)
    channels = given.condition_channels
    if name == "conv1d":
        network = PlainConv1d(**sizes, condition_channels=channels)
        return Peer(network, network.log_prob, speaker, (network.input, network.head[-1]))
    network = vocoder(sizes, dropout=0.0, gin_channels=channels, use_speaker_embedding=False)
    return Peer(network, vocoder_log_prob(network), speaker, (network.first_conv, network.last_conv_layers[-1]))
