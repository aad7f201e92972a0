"""Levels of frames, and trimming of silence at the ends of a recording."""

from torch import Tensor

FRAME_SECONDS = 0.025


def frame_power(waveform: Tensor, sample_rate: int, frame_seconds: float = FRAME_SECONDS) -> Tensor:
    """Return the power of each frame around its own mean, so a constant offset, which is not heard, does not count.

    Args:
        waveform: (T,).
        sample_rate: Hz.
        frame_seconds: Length of a frame.

    Returns:
        (F,) mean squares, for the whole frames in the waveform; samples after them are left out.
    """
    frame = max(1, round(frame_seconds * sample_rate))
    num_frames = waveform.shape[0] // frame
    return waveform[: num_frames * frame].reshape(num_frames, frame).var(dim=1, correction=0)


def trim_silence(
    waveform: Tensor, sample_rate: int, threshold_db: float, frame_seconds: float = FRAME_SECONDS
) -> Tensor:
    """Cut the quiet beginning and end of a recording; pauses inside it are kept.

    A frame's level is that of `frame_power`.

    Args:
        waveform: (T,).
        sample_rate: Hz.
        threshold_db: A frame is quiet when its level is more than this many dB below the loudest frame's.
        frame_seconds: Length of a frame; the cut is at frame boundaries, so up to one frame of
            silence stays at either end.

    Returns:
        (T',) a view of the waveform, T' <= T; at least the loudest frame remains.

    Raises:
        ValueError: If threshold_db is not positive.
    """
    if threshold_db <= 0:
        raise ValueError(f"trim_silence: threshold_db is {threshold_db}; it must be above 0, such as 40")
    frame = max(1, round(frame_seconds * sample_rate))
    power = frame_power(waveform, sample_rate, frame_seconds)
    num_frames = len(power)
    if num_frames < 2:
        return waveform
    loud = (power >= power.max() * 10 ** (-threshold_db / 10)).nonzero()
    first, last = int(loud[0]), int(loud[-1])
    end = waveform.shape[0] if last == num_frames - 1 else min(waveform.shape[0], (last + 2) * frame)
    return waveform[max(0, first - 1) * frame : end]
