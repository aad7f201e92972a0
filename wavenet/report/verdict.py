"""What is wrong with generated audio as a whole, in words: noise, silence, or too loud or quiet."""

from wavenet.evaluation import LongTerm, spectrum_distance
from wavenet.evaluation.long_term import WHITE_NOISE_FLATNESS

_SILENT = 0.9  # share of silent frames
_MORE_SILENT = 0.25  # share of silent frames beyond the recordings'
_NOISE, _NOISY = 0.25, 0.5  # of the way from white noise to the recordings
_LEVEL = 6.0  # dB
_SPECTRUM = 6.0  # dB; voices differ by 2 to 5


def verdict(generated: LongTerm, recordings: LongTerm) -> list[str]:
    """Return what stands out, each with its figures and what may help; nothing if nothing does.

    Thresholds are conventions: silence is 90 % of silent frames; noise has a flatness less than a quarter of the way
    from white noise to the recordings, and noisy speech less than half; pauses may be longer or shorter by 25 % of the
    time, the level may differ by 6 dB, and the spectrum by 6 dB. Silence has no other verdict.

    Args:
        generated: Measures of a speaker's generated audio.
        recordings: Measures of the speaker's recordings.
    """
    pauses = f"{100 * generated.silence:.0f} % of it is silent, and {100 * recordings.silence:.0f} % of the recordings"
    if generated.silence > _SILENT > recordings.silence:
        return [f"silence: {pauses}; try a higher temperature, or train for longer"]
    found = _noise(generated, recordings)
    if generated.silence - recordings.silence > _MORE_SILENT:
        found.append(f"long pauses: {pauses}; try a higher temperature")
    if recordings.silence - generated.silence > _MORE_SILENT:
        found.append(f"few pauses: {pauses}; try a lower temperature")
    louder = generated.level - recordings.level
    if abs(louder) > _LEVEL:
        kind, side = ("too loud", "above") if louder > 0 else ("too quiet", "below")
        found.append(f"{kind}: {abs(louder):.1f} dB {side} the recordings")
    distance = spectrum_distance(generated, recordings)
    if distance > _SPECTRUM:
        found.append(f"different timbre: the spectrum differs by {distance:.1f} dB from that of the recordings")
    return found


def _noise(generated: LongTerm, recordings: LongTerm) -> list[str]:
    span = recordings.flatness - WHITE_NOISE_FLATNESS
    way = (generated.flatness - WHITE_NOISE_FLATNESS) / span if span < -1 else 1.0  # the recordings may be noise
    figures = (
        f"flatness {generated.flatness:.1f} dB, against {recordings.flatness:.1f} of the recordings "
        f"and {WHITE_NOISE_FLATNESS:.1f} of white noise"
    )
    if way < _NOISE:
        return [f"noise: {figures}; train for longer, and look at the bits per sample"]
    return [f"noisy: {figures}; train for longer, or try a lower temperature"] if way < _NOISY else []
