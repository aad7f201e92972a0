"""Bits per byte, as the SaShiMi paper counts them: of 8-bit samples, in clips that each begin with nothing heard."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wavenet.audio import mu_law_decode, mu_law_encode
from wavenet.data import Corpus
from wavenet.evaluation.bits import Score
from wavenet.model import WaveNet

QUANTIZATIONS = ("mu_law", "linear")
PUBLISHED = {"sc09": (("SaShiMi", 1.891), ("SaShiMi, retrained in 2022", 1.873))}
"""What others report, by the dataset's name: from the table of test NLL in models/sashimi/README.md of the authors'
repository, github.com/state-spaces/s4. Their other numbers stand in the paper only, and none is copied from memory."""
_CHUNK = 65536  # samples that are run at once, as in `utterance_bits`


@dataclass(frozen=True)
class Clips:
    """How recordings become clips of bytes.

    Goel, Gu, Donahue and Re, It's Raw! Audio Generation with State-Space Models (2022), report "NLL", base 2. What
    follows is read off the code that the paper names (github.com/state-spaces/s4: src/dataloaders/audio.py,
    datasets.py, configs/dataset/, and `bpb` in src/tasks/metrics.py):

    - A file is cut into clips of `sample_len` samples at 16 kHz: 16000 for SC09, 128000 (8 s) for Beethoven,
      131072 (8.192 s) for YouTubeMix. The rest of a file is left out of the latter two (`drop_last`); SC09's
      shorter files count as they are, and padding does not count.
    - Each clip is stretched by itself, so that its lowest sample is -1 and its highest 1.
    - It is quantised to 256 levels: mu-law for SC09 and YouTubeMix, linear for Beethoven.
    - The first byte is predicted from the level of silence and nothing else; each later one from all bytes before
      it in the clip. The figure is the mean of -log2 p over samples (over batches, which is the same for clips
      of one length).

    Here it is the same, with these differences. The mu-law classes are this package's, which are 0.4 % wider than
    theirs, as the outermost two are half as wide; that alone is 0.006 bits less. Linear levels are of 256 16-bit
    levels each, whose ends lie within a hundredth of a level of theirs. A model of 16-bit samples hears the bytes,
    decoded, and nothing finer, and the probability of a byte is that of all 16-bit levels in it; so the sum over all
    clips of bytes is 1, as it is for a model of bytes, but such a model hears what it was not trained on. The paper's
    models are unconditional; a model that is given the speaker is not comparable.

    Not verified: that the paper's numbers were made with just this code and the configs as they are now; that the NLL
    of its tables is what `bpb` logs, in base 2 (others who tried to reproduce it read it so); and how the baselines,
    WaveNet among them, were trained.

    Attributes:
        seconds: Length of a clip.
        quantization: "mu_law" or "linear".
        stretch: Whether each clip is stretched to [-1, 1], as theirs are. A model that was trained on recordings as
            they are does worse with stretched ones.
        drop_rest: Whether what is left of an utterance after its whole clips is left out.

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
        """The clips of an utterance (T,), stretched if wanted."""
        length = max(1, round(self.seconds * sample_rate))
        for clip in waveform.split(length):
            if len(clip) == length or not self.drop_rest:
                yield stretched(clip) if self.stretch else clip


def stretched(clip: Tensor) -> Tensor:
    """A clip (T,) whose lowest sample is -1 and whose highest is 1; a constant one becomes -1, as in their code."""
    low, high = clip.aminmax()
    return (2 * (clip - low) / (high - low + 1e-6) - 1).clamp(-1, 1)


@torch.inference_mode()
def clip_bits(model: WaveNet, clip: Tensor, quantization: str, conditions: dict[str, str] | None = None) -> float:
    """Bits for one clip's bytes, each given those before it.

    Args:
        model: The model; told no features.
        clip: (T,) in [-1, 1].
        quantization: "mu_law" or "linear".
        conditions: Names, such as the speaker.

    Returns:
        The negative log2-likelihood of the clip's bytes.

    Raises:
        ValueError: If the model's distribution does not say how likely a byte is.
    """
    device = next(model.parameters()).device
    of_levels, low, high, decoded = _cells(quantization)
    numbers = of_levels[(clip.cpu() * 2**15).round().long().clamp(-(2**15), 2**15 - 1) + 2**15]
    low, high, heard = (table[numbers][None].to(device) for table in (low, high, decoded))
    condition, layers, nats = model.condition(conditions, 1), None, 0.0
    heard = torch.cat([torch.zeros_like(heard[:, :1]), heard[:, :-1]], dim=1)
    for start in range(0, heard.shape[1], _CHUNK):
        piece = slice(start, start + _CHUNK)
        now = None if condition is None else condition.slice(start, heard[:, piece].shape[1])
        parameters, layers = model(heard[:, piece], now, layers)
        log_prob = model.distribution.log_prob_of_levels(parameters, low[:, piece], high[:, piece])
        nats -= log_prob.double().sum().item()
    return nats / math.log(2)


def utterance_bytes(model: WaveNet, corpus: Corpus, index: int, clips: Clips) -> Score:
    """Score an utterance's clips.

    Args:
        model: The model.
        corpus: At the model's rate.
        index: The utterance's number.
        clips: How it is cut and quantised.

    Returns:
        Bits and samples; no samples if the utterance is shorter than a clip and the rest is left out.

    Raises:
        ValueError: See `unsupported_reason` and `clip_bits`.
    """
    score = Score(utterances=1)
    for clip in clips.cut(corpus.read(index), corpus.sample_rate):
        bits = clip_bits(model, clip, clips.quantization, corpus.utterances[index].conditions)
        score += Score(bits, len(clip))
    return score


def unsupported_reason(model: WaveNet, clips: Clips) -> str | None:
    """Why a model's bits per byte cannot be counted; None if they can."""
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
    """The byte of each 16-bit level, (65536,); of each byte the lowest and highest level and what is heard, (256,)."""
    with torch.inference_mode(False):
        levels = torch.arange(-(2**15), 2**15)
        if quantization == "mu_law":
            of_levels, decoded = mu_law_encode(levels / 2**15), mu_law_decode(torch.arange(256))
        else:
            of_levels, decoded = levels // 256 + 128, (torch.arange(256) + 0.5) / 128 - 1
        above = of_levels.bincount(minlength=256).cumsum(0) - 2**15
        below = torch.cat([levels[:1], above[:-1]])
        return of_levels, below, above - 1, decoded
