"""Bits per byte, computed as in the SaShiMi paper: of 8-bit samples, in clips that each begin without context."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wavenet.audio import mu_law_decode, mu_law_encode, stretched
from wavenet.data import Corpus
from wavenet.evaluation.bits import Score
from wavenet.model import WaveNet

QUANTIZATIONS = ("mu_law", "linear")
PUBLISHED = {"speechcommands": (("WaveNet", 1.925), ("SaShiMi", 1.891), ("SaShiMi, retrained in 2022", 1.873))}
"""Published figures on the test list, by the dataset's name. SaShiMi's are from the table of test NLL in
models/sashimi/README.md of the authors' repository, github.com/state-spaces/s4. WaveNet's, of 4.2 M parameters, is from
Gu and Dao, Mamba (2023, arXiv:2312.00752), table 4, whose baselines are those of the SaShiMi paper."""
_CHUNK = 65536  # samples in one forward pass, as in `utterance_bits`


@dataclass(frozen=True)
class Clips:
    """How recordings are cut into clips of bytes.

    Goel, Gu, Donahue and Re, It's Raw! Audio Generation with State-Space Models (2022), report "NLL", base 2. What
    follows is taken from the code that the paper refers to (github.com/state-spaces/s4: src/dataloaders/audio.py,
    datasets.py, configs/dataset/, and `bpb` in src/tasks/metrics.py):

    - A file is cut into clips of `sample_len` samples at 16 kHz: 16000 for SC09, 128000 (8 s) for Beethoven,
      131072 (8.192 s) for YouTubeMix. The remainder of a file is left out for the latter two (`drop_last`); SC09's
      shorter files are included as they are, and padding is not counted.
    - Each clip is stretched separately, so that its lowest sample is -1 and its highest 1.
    - It is quantised to 256 levels: mu-law for SC09 and YouTubeMix, linear for Beethoven.
    - The first byte is predicted from the level of silence alone; each later one from all bytes before
      it in the clip. The figure is the mean of -log2 p over samples (over batches, which is the same for clips
      of one length).

    This implementation is the same, with these differences. The mu-law classes are this package's, which are 0.4 %
    wider than the paper's, as the outermost two are half as wide; that alone is 0.006 bits less. Linear levels are of
    256 16-bit levels each, whose ends lie within a hundredth of a level of the paper's. The inputs of a model of 16-bit
    samples are the decoded bytes, at no finer resolution, and the probability of a byte is that of all 16-bit levels
    in it; so the probabilities of all clips of bytes sum to 1, as for a model of bytes, but the inputs differ from
    those that the model was trained on. The paper's models are unconditional; a model that is conditioned on the
    speaker is not comparable.

    Not verified: that the paper's numbers were computed with exactly this code and the present configs; that the NLL
    of its tables is what `bpb` logs, in base 2 (others who tried to reproduce it interpret it so); and how the
    baselines, WaveNet among them, were trained.

    Attributes:
        seconds: Length of a clip.
        quantization: "mu_law" or "linear".
        stretch: Whether each clip is stretched to [-1, 1], as in the paper. A model that was trained on unstretched
            recordings scores worse on stretched ones.
        drop_rest: Whether the remainder of an utterance after its whole clips is left out.

    Raises:
        ValueError: If seconds is not above 0, or the quantization is unknown.
    """

    seconds: float = 1.0
    quantization: str = "mu_law"
    stretch: bool = True
    drop_rest: bool = False

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"Clips: seconds is {self.seconds}; it must be above 0, such as 1")
        if self.quantization not in QUANTIZATIONS:
            raise ValueError(f"Clips: quantization is '{self.quantization}'; it must be {' or '.join(QUANTIZATIONS)}")

    def cut(self, waveform: Tensor, sample_rate: int) -> Iterator[Tensor]:
        """Cut an utterance (T,) into clips, stretched if requested."""
        length = max(1, round(self.seconds * sample_rate))
        for clip in waveform.split(length):
            if len(clip) == length or not self.drop_rest:
                yield stretched(clip) if self.stretch else clip


@torch.inference_mode()
def clip_bits(model: WaveNet, clip: Tensor, quantization: str, conditions: dict[str, str] | None = None) -> float:
    """Return the bits for one clip's bytes, each given those before it.

    Args:
        model: The model, without features.
        clip: (T,) in [-1, 1].
        quantization: "mu_law" or "linear".
        conditions: Categorical conditions, such as the speaker.

    Returns:
        The negative log2-likelihood of the clip's bytes.

    Raises:
        ValueError: If the model's distribution has no probability for a byte.
    """
    device = next(model.parameters()).device
    of_levels, low, high, decoded = _cells(quantization)
    numbers = of_levels[(clip.cpu() * 2**15).round().long().clamp(-(2**15), 2**15 - 1) + 2**15]
    low, high, inputs = (table[numbers][None].to(device) for table in (low, high, decoded))
    condition, layers, nats = model.condition(conditions, 1), None, 0.0
    inputs = torch.cat([torch.zeros_like(inputs[:, :1]), inputs[:, :-1]], dim=1)
    for start in range(0, inputs.shape[1], _CHUNK):
        part = slice(start, start + _CHUNK)
        part_condition = None if condition is None else condition.slice(start, inputs[:, part].shape[1])
        parameters, layers = model(inputs[:, part], part_condition, layers)
        log_prob = model.distribution.log_prob_of_levels(parameters, low[:, part], high[:, part])
        nats -= log_prob.double().sum().item()
    return nats / math.log(2)


def utterance_bytes(model: WaveNet, corpus: Corpus, index: int, clips: Clips) -> Score:
    """Score an utterance's clips.

    Args:
        model: The model.
        corpus: The corpus, at the model's rate.
        index: The utterance's index.
        clips: How the utterance is cut and quantised.

    Returns:
        Bits and samples; no samples if the utterance is shorter than a clip and the remainder is left out.

    Raises:
        ValueError: See `unsupported_reason` and `clip_bits`.
    """
    score = Score(utterances=1)
    for clip in clips.cut(corpus.read(index), corpus.sample_rate):
        bits = clip_bits(model, clip, clips.quantization, corpus.utterances[index].conditions)
        score += Score(bits, len(clip))
    return score


def unsupported_reason(model: WaveNet, clips: Clips) -> str | None:
    """Return why a model's bits per byte cannot be computed; None if they can."""
    if model.features:
        names = ", ".join(features.name for features in model.features)
        return f"the model is conditioned on {names} of each recording; the paper's models are unconditional"
    _, low, high, _ = _cells(clips.quantization)
    device = next(model.parameters()).device
    parameters = torch.zeros(1, model.distribution.parameter_channels, 256, device=device)
    try:
        model.distribution.log_prob_of_levels(parameters, low[None].to(device), high[None].to(device))
    except ValueError as error:
        return f"{clips.quantization} bytes: {error}"
    return None


@functools.lru_cache(maxsize=2)
def _cells(quantization: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the byte of each 16-bit level, (65536,), and each byte's lowest and highest level and sample, (256,)."""
    with torch.inference_mode(False):
        levels = torch.arange(-(2**15), 2**15)
        if quantization == "mu_law":
            of_levels, decoded = mu_law_encode(levels / 2**15), mu_law_decode(torch.arange(256))
        else:
            of_levels, decoded = levels // 256 + 128, (torch.arange(256) + 0.5) / 128 - 1
        above = of_levels.bincount(minlength=256).cumsum(0) - 2**15
        below = torch.cat([levels[:1], above[:-1]])
        return of_levels, below, above - 1, decoded
