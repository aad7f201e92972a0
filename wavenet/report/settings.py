"""Settings of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

from wavenet.evaluation import Clips


@dataclass(frozen=True)
class ReportSettings:
    """What a report measures, and on how much data.

    Attributes:
        seed: Seed of the generated audio.
        confidence: Confidence level of the intervals.
        clips: Clips for bits per byte; None does not compute them.
        sound_seconds: Length of each sound of the page; 0 for no sounds.
        max_speakers: Number of speakers with sounds on the page; None for all.
        utterances: Utterances of each speaker to resynthesise, with a model that has features; 0 for none.
        utterance_seconds: Maximum length of each resynthesis.
        utterance_temperature: Temperature of the resyntheses.
        long_term_utterances: Utterances of each speaker to generate at each temperature, each with its own seed, and
            to measure as a whole beside the recordings; 0 for none.
        long_term_seconds: Length of each, for a model that has features at most that of the recording.
        long_term_speakers: Number of speakers that are measured so; None for all.
        temperatures: Temperatures of those utterances; with several, the one most like the recordings is found.
        speed_seconds: Length of the audio generated to measure the speed; 0 does not measure it.
        weights: How the cpu backend stores the weights for the measurement of the speed.
    """

    seed: int = 0
    confidence: float = 0.95
    clips: Clips | None = None
    sound_seconds: float = 2.0
    max_speakers: int | None = None
    utterances: int = 3
    utterance_seconds: float = 10.0
    utterance_temperature: float = 1.0
    long_term_utterances: int = 3
    long_term_seconds: float = 5.0
    long_term_speakers: int | None = None
    temperatures: Sequence[float] = (1.0,)
    speed_seconds: float = 2.0
    weights: str = "float32"
