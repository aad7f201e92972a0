"""PESQ and STOI: how good and how intelligible a resynthesis would be found, by the libraries that people quote."""

import warnings
from dataclasses import dataclass

from torch import Tensor

from wavenet.audio import resample

INSTALL = 'pip install "wavenet[report]"'
_LONGEST = 10.0  # seconds; the C code of PESQ has room for 50 utterances of 0.2 s and does not count
_SHORTEST = 0.5  # seconds; it wants a quarter, and STOI 0.4 without pauses
_SILENCE = 1e-3  # RMS


@dataclass(frozen=True)
class Verdict:
    """A figure, or the reason for there being none.

    Attributes:
        value: The figure; None if it is not available.
        reason: Why not; "" if there is a figure.
    """

    value: float | None
    reason: str = ""


def pesq_kind(sample_rate: int) -> tuple[int, str]:
    """The rate in Hz that PESQ is computed at for audio of a rate, and its mode, "wb" or "nb".

    PESQ is defined at 8 kHz (narrow band, ITU-T P.862.1) and 16 kHz (wide band, P.862.2).
    """
    return (16000, "wb") if sample_rate >= 16000 else (8000, "nb")


def pesq(made: Tensor, recording: Tensor, sample_rate: int) -> Verdict:
    """PESQ as MOS-LQO, about 1 (bad) to 4.6; the package `pesq` wraps the C code of ITU-T P.862.

    Audio of 16 kHz and more is brought to 16 kHz and judged in wide band, other to 8 kHz and in narrow band; the two
    do not compare. Only the first 10 s are judged: P.862 is meant for about as much.

    Args:
        made: (T,) samples in [-1, 1], on the CPU.
        recording: (T,), likewise.
        sample_rate: Of both, Hz.
    """
    try:
        from pesq import PesqError  # noqa: PLC0415
        from pesq import pesq as score  # noqa: PLC0415
    except ImportError:
        return Verdict(None, f"PESQ needs {INSTALL}")
    unfit = _unfit(made, recording, sample_rate)
    if unfit:
        return Verdict(None, unfit)
    rate, mode = pesq_kind(sample_rate)
    length = round(_LONGEST * sample_rate)
    reference, degraded = (resample(x[:length].float(), sample_rate, rate).numpy() for x in (recording, made))
    try:
        return Verdict(float(score(rate, reference, degraded, mode)))
    except PesqError as error:
        said = error.args[0] if error.args else type(error).__name__
        return Verdict(None, f"PESQ says: {said.decode() if isinstance(said, bytes) else said}")


def stoi(made: Tensor, recording: Tensor, sample_rate: int) -> Verdict:
    """Short-time objective intelligibility, 0 to 1 (Taal et al., 2011), by the package `pystoi`.

    Args:
        made: (T,) samples in [-1, 1], on the CPU.
        recording: (T,), likewise.
        sample_rate: Of both, Hz; resampled to 10 kHz by the package.
    """
    try:
        from pystoi import stoi as score  # noqa: PLC0415
    except ImportError:
        return Verdict(None, f"STOI needs {INSTALL}")
    unfit = _unfit(made, recording, sample_rate)
    if unfit:
        return Verdict(None, unfit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # so it says that there are too few frames, and returns 1e-5
            return Verdict(float(score(recording.double().numpy(), made.double().numpy(), sample_rate)))
    except RuntimeWarning:
        return Verdict(None, "STOI wants 0.4 s of sound without pauses")


def _unfit(made: Tensor, recording: Tensor, sample_rate: int) -> str:
    """Why the libraries are not asked: of these they divide by zero or read where nothing is; "" if they are."""
    if made.shape != recording.shape or made.dim() != 1:
        return f"made is {tuple(made.shape)} and recording is {tuple(recording.shape)}; both must be (T,)"
    if len(made) < _SHORTEST * sample_rate:
        return f"shorter than {_SHORTEST:g} s"
    for name, sound in (("what was made", made), ("the recording", recording)):
        if not bool(sound.isfinite().all()):
            return f"{name} holds NaN or infinite samples"
        if sound[: round(_LONGEST * sample_rate)].square().mean().sqrt().item() < _SILENCE:
            return f"{name} is near silence"
    return ""
