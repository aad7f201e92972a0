"""PESQ and STOI, measures of a resynthesis's quality and intelligibility, by the usual libraries."""

import warnings
from dataclasses import dataclass

from torch import Tensor

from wavenet.audio import resample
from wavenet.extras import install_command

_LONGEST = 10.0  # seconds; the C code of PESQ has a buffer for 50 utterances of 0.2 s and does not check its bounds
_SHORTEST = 0.5  # seconds; PESQ needs a quarter, and STOI 0.4 without pauses
_SILENCE = 1e-3  # RMS


@dataclass(frozen=True)
class Verdict:
    """A figure, or the reason for having none.

    Attributes:
        value: The figure; None if it is not available.
        reason: Why it is not available; "" if it is.
    """

    value: float | None
    reason: str = ""


def pesq_kind(sample_rate: int) -> tuple[int, str]:
    """Return the rate in Hz at which PESQ is computed for audio of a rate, and its mode, "wb" or "nb".

    PESQ is defined at 8 kHz (narrow band, ITU-T P.862.1) and 16 kHz (wide band, P.862.2).
    """
    return (16000, "wb") if sample_rate >= 16000 else (8000, "nb")


def pesq(made: Tensor, recording: Tensor, sample_rate: int) -> Verdict:
    """PESQ as MOS-LQO, about 1 (bad) to 4.6; the package `pesq` wraps the C code of ITU-T P.862.

    Audio of 16 kHz and more is resampled to 16 kHz and scored in wide band, other audio to 8 kHz and in narrow band;
    the two are not comparable. Only the first 10 s are scored: P.862 is meant for about this length.

    Args:
        made: Generated audio, (T,) samples in [-1, 1], on the CPU.
        recording: The reference, (T,), likewise.
        sample_rate: Rate of both, Hz.
    """
    try:
        from pesq import PesqError  # noqa: PLC0415
        from pesq import pesq as score  # noqa: PLC0415
    except ImportError:
        return Verdict(None, f"PESQ needs {install_command('report')}")
    reason = _unusable_reason(made, recording, sample_rate)
    if reason:
        return Verdict(None, reason)
    rate, mode = pesq_kind(sample_rate)
    length = round(_LONGEST * sample_rate)
    reference, degraded = (resample(x[:length].float(), sample_rate, rate).numpy() for x in (recording, made))
    try:
        return Verdict(float(score(rate, reference, degraded, mode)))
    except PesqError as error:
        message = error.args[0] if error.args else type(error).__name__
        return Verdict(None, f"PESQ failed: {message.decode() if isinstance(message, bytes) else message}")


def stoi(made: Tensor, recording: Tensor, sample_rate: int) -> Verdict:
    """Short-time objective intelligibility, 0 to 1 (Taal et al., 2011), by the package `pystoi`.

    Args:
        made: Generated audio, (T,) samples in [-1, 1], on the CPU.
        recording: The reference, (T,), likewise.
        sample_rate: Rate of both, Hz; resampled to 10 kHz by the package.
    """
    try:
        from pystoi import stoi as score  # noqa: PLC0415
    except ImportError:
        return Verdict(None, f"STOI needs {install_command('report')}")
    reason = _unusable_reason(made, recording, sample_rate)
    if reason:
        return Verdict(None, reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # raised for too few frames, where the package returns 1e-5
            return Verdict(float(score(recording.double().numpy(), made.double().numpy(), sample_rate)))
    except RuntimeWarning:
        return Verdict(None, "STOI needs 0.4 s of audio without pauses")


def _unusable_reason(made: Tensor, recording: Tensor, sample_rate: int) -> str:
    """Return why the libraries are not called: for these they divide by zero or read out of bounds; "" if they are."""
    if made.shape != recording.shape or made.dim() != 1:
        return f"made is {tuple(made.shape)} and recording is {tuple(recording.shape)}; both must be (T,)"
    if len(made) < _SHORTEST * sample_rate:
        return f"shorter than {_SHORTEST:g} s"
    for name, sound in (("the generated audio", made), ("the recording", recording)):
        if not bool(sound.isfinite().all()):
            return f"{name} contains NaN or infinite samples"
        if sound[: round(_LONGEST * sample_rate)].square().mean().sqrt().item() < _SILENCE:
            return f"{name} is near silence"
    return ""
