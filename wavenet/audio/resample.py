"""Change of sample rate."""

import torchaudio.functional
from torch import Tensor


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample with a windowed sinc filter (torchaudio's, Kaiser window).

    The filter's numbers are those that torchaudio's documentation gives for librosa's "kaiser_best".
    The filter may overshoot a full-scale peak by a little; such samples are held at -1 or 1.

    Args:
        waveform: (..., T) samples in [-1, 1].
        from_rate: The waveform's rate, Hz.
        to_rate: The wanted rate, Hz.

    Returns:
        (..., ceil(T * to_rate / from_rate)) samples in [-1, 1]; the same tensor if the rates agree.
    """
    if from_rate == to_rate:
        return waveform
    resampled = torchaudio.functional.resample(
        waveform,
        from_rate,
        to_rate,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    return resampled.clamp(-1, 1)
