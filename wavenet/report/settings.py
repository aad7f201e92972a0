"""What a report is to hold."""

from dataclasses import dataclass

from wavenet.evaluation import Clips


@dataclass(frozen=True)
class ReportSettings:
    """What is measured, and on how much.

    Attributes:
        seed: Of what is made.
        confidence: Of the intervals.
        clips: For bits per byte; None does not count them.
        sound_seconds: Length of each sound of the page; 0 is no sounds.
        max_speakers: Speakers who are heard; None is all.
        utterances: Of each speaker, to be resynthesised by a model that takes features; 0 is none.
        utterance_seconds: At most so much of each.
        speed_seconds: Length of what is made to measure the speed; 0 does not measure it.
        weights: How the cpu backend stores them, where the speed is measured.
    """

    seed: int = 0
    confidence: float = 0.95
    clips: Clips | None = None
    sound_seconds: float = 2.0
    max_speakers: int | None = None
    utterances: int = 3
    utterance_seconds: float = 10.0
    speed_seconds: float = 2.0
    weights: str = "float32"
