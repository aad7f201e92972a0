"""A sound of the report: its file, spectrogram and level."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import soundfile
import torch
from torch import Tensor

from wavenet.audio.spectrogram_image import spectrogram_image
from wavenet.evaluation.similarity import mel_of

NEAR_SILENCE = 1e-3  # RMS, -60 dB of full scale
_FULL_SCALE = 32766 / 32768  # of 16 bits; encoders clip just above or below it
_CLIPPED = 3  # samples at full scale; a loud sound may reach it once or twice
_DC = 0.01
_COLUMNS = 400  # of a waveform's picture
_MAX_FLAC_RATE = 655_350  # Hz
_MIN_RATE = 2000  # Hz; the mel spectrogram is not defined below
_QUIETEST, _LOUDEST = -11.5, 1.0  # natural logarithm of mel magnitudes, as in the README's pictures


@dataclass(frozen=True)
class Sound:
    """A sound, with its name and how it was generated.

    Attributes:
        speaker: The recording's speaker.
        kind: "recording", "resynthesised" or "generated".
        of: Name of the checkpoint that generated it; "" for a recording.
        utterance: The recording's id.
        conditions: The conditions that it was generated with, as text.
        seed: Seed of the generation; None for a recording.
        file: 16-bit FLAC, or WAV at rates that FLAC lacks.
        facts: Level, offset and faults; see `facts`.
    """

    speaker: str
    kind: str
    of: str
    utterance: str
    conditions: str
    seed: int | None
    file: bytes
    facts: dict[str, Any]

    @property
    def uri(self) -> str:
        """The sound as a `data:` URL."""
        subtype = "flac" if self.file[:4] == b"fLaC" else "wav"
        return f"data:audio/{subtype};base64,{base64.b64encode(self.file).decode('ascii')}"

    def described(self) -> dict[str, Any]:
        """Everything but the audio, as plain data."""
        names = ("speaker", "kind", "of", "utterance", "conditions", "seed")
        return {name: getattr(self, name) for name in names} | self.facts

    def decoded(self) -> Tensor:
        """The audio, (T,)."""
        return decode(self.file)


def encode(waveform: Tensor, sample_rate: int) -> bytes:
    """Encode as 16-bit FLAC, which browsers play, at half the size of WAV; as WAV at rates that FLAC lacks."""
    encoded, file_format = io.BytesIO(), "FLAC" if sample_rate <= _MAX_FLAC_RATE else "WAV"
    soundfile.write(encoded, waveform.float().numpy(), sample_rate, format=file_format, subtype="PCM_16")
    return encoded.getvalue()


def decode(file: bytes) -> Tensor:
    """Decode to samples (T,) in [-1, 1]."""
    samples, _ = soundfile.read(io.BytesIO(file), dtype="float32")
    return torch.from_numpy(samples)


def facts(waveform: Tensor, sample_rate: int) -> dict[str, Any]:
    """Measure the level, offset and faults of a sound.

    Args:
        waveform: (T,), as decoded.
        sample_rate: Hz.

    Returns:
        seconds, peak, rms, dc (the mean), clipped_samples (at full scale), and flags: the faults that a listener
        should know of, such as "near silence".
    """
    found: dict[str, Any] = {
        "seconds": len(waveform) / sample_rate,
        "samples": len(waveform),
        "peak": waveform.abs().max().item(),
        "rms": waveform.double().square().mean().sqrt().item(),
        "dc": waveform.double().mean().item(),
        "clipped_samples": int((waveform.abs() >= _FULL_SCALE).sum()),
    }
    flags = {
        "near silence": found["rms"] < NEAR_SILENCE,
        "clipping": found["clipped_samples"] >= _CLIPPED,
        "DC offset": abs(found["dc"]) > _DC,
    }
    return found | {"flags": [flag for flag, raised in flags.items() if raised]}


def waveform_points(waveform: Tensor) -> str:
    """Return the waveform's envelope as an SVG polygon, 400 wide and -1 to 1 high: maxima, then minima."""
    columns = min(_COLUMNS, len(waveform))
    pieces = waveform.tensor_split(columns)
    x = [_COLUMNS * (k + 0.5) / columns for k in range(columns)]
    # a minimum height, so that silence is visible as a line
    upper = [f"{a:.1f},{-max(p.max().item(), 0.005):.3f}" for a, p in zip(x, pieces, strict=True)]
    lower = [f"{a:.1f},{-min(p.min().item(), -0.005):.3f}" for a, p in zip(x, pieces, strict=True)]
    return " ".join(upper + lower[::-1])


def spectrogram(waveform: Tensor, sample_rate: int) -> str | None:
    """Draw the log-mel spectrogram as a `data:` URL of a PNG, low frequencies at the bottom; None below 2 kHz."""
    if sample_rate < _MIN_RATE:
        return None
    colours = spectrogram_image(mel_of(sample_rate).extract(waveform), _QUIETEST, _LOUDEST)
    encoded = io.BytesIO()
    matplotlib.image.imsave(encoded, colours.permute(1, 2, 0).contiguous().numpy(), format="png")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
