"""Which held-out utterances are heard and made again, and what is made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wavenet.data import Corpus
from wavenet.evaluation import grouped
from wavenet.model import WaveNet
from wavenet.report.settings import ReportSettings
from wavenet.report.sounds import Sound, decode, encode, facts
from wavenet.report.synthesis import make, num_steps, requested_conditions


@dataclass(frozen=True)
class Selection:
    """Some utterances of each speaker; number k of them is made with the seed + k.

    All speakers' first ones come before all second ones, so that what is heard of a speaker has the same seed
    whatever else is made.

    Attributes:
        sample_rate: Hz.
        ids: Speaker and utterance of each.
        shown: How many of them, from the first on, are heard in the page.
        recordings: Their beginnings, (T,) each.
        lengths: Samples that are made of each.
        conditions: Of as many samples.
    """

    sample_rate: int
    ids: Sequence[tuple[str, str]]
    shown: int
    recordings: Sequence[Tensor]
    lengths: Sequence[int]
    conditions: Sequence[Mapping[str, Any]]

    @property
    def num_steps(self) -> int:
        """Samples that are made one after the other."""
        return num_steps(self.lengths)

    def make(self, model: WaveNet, seed: int, on_progress: Callable[[int], object]) -> list[Tensor]:
        """What a model makes of each, (length,)."""
        return make(model, self.lengths, self.conditions, seed, on_progress)

    def pairs(self, made: Sequence[Tensor], seconds: float) -> list[tuple[Tensor, Tensor]]:
        """What was made and its recording, so much of each at most."""
        length = _samples(seconds, self.sample_rate)
        return [(a[:length], b[:length]) for a, b in zip(made, self.recordings, strict=True)]

    def sounds(self, made: Sequence[Tensor], name: str, model: WaveNet, settings: ReportSettings) -> list[Sound]:
        """Of each speaker who is heard a recording, and what the model called `name` made."""
        length, sounds = _samples(settings.sound_seconds, self.sample_rate), []
        kind = "resynthesised" if model.features else "generated"
        for k, (speaker, utterance) in enumerate(self.ids[: self.shown]):
            asked = requested_conditions(model, self.conditions[k]).items()
            words = ", ".join(f"its {n}" if isinstance(value, Tensor) else f"{n} {value}" for n, value in asked)
            recording, own = (self._file(each[k][:length]) for each in (self.recordings, made))
            sounds.append(Sound(speaker, "recording", "", utterance, "", None, *recording))
            sounds.append(Sound(speaker, kind, name, utterance, words or "nothing", settings.seed + k, *own))
        return sounds

    def _file(self, waveform: Tensor) -> tuple[bytes, dict[str, Any]]:
        file = encode(waveform, self.sample_rate)
        return file, facts(decode(file), self.sample_rate)


def select_utterances(model: WaveNet, corpus: Corpus, settings: ReportSettings) -> Selection:
    """Choose what the page lets hear, and if the model takes features what it makes again to be judged.

    Of each speaker those come first that are as long as the page's sounds, in the corpus's order, and then shorter
    ones. A model that takes features makes as much as is judged or heard, another one what is heard.
    """
    rate, judged = model.sample_rate, settings.utterances if model.features else 0
    heard = _samples(settings.sound_seconds, rate) if settings.sound_seconds else 0
    numbers = {speaker: theirs for speaker, theirs in grouped(corpus).items() if speaker != "all"}
    sizes = [utterance.num_samples for utterance in corpus.utterances]
    best = {speaker: sorted(theirs, key=lambda i: -min(heard, sizes[i])) for speaker, theirs in numbers.items()}
    shown = list(best)[: settings.max_speakers] if heard else []
    ranks = {speaker: theirs[: max(judged, speaker in shown)] for speaker, theirs in best.items()}
    chosen = [
        (speaker, theirs[rank])
        for rank in range(max(map(len, ranks.values())))
        for speaker, theirs in ranks.items()
        if rank < len(theirs)
    ]
    limit = max(heard, _samples(settings.utterance_seconds, rate) if judged else 0)
    recordings = [corpus.read(i, 0, min(limit, sizes[i])) for _, i in chosen]
    lengths = [len(recording) if model.features else heard for recording in recordings]
    return Selection(
        rate,
        [(speaker, corpus.utterances[i].id) for speaker, i in chosen],
        len(shown),
        recordings,
        lengths,
        [corpus.conditions(i, 0, length) for (_, i), length in zip(chosen, lengths, strict=True)],
    )


def _samples(seconds: float, rate: int) -> int:
    return max(1, round(seconds * rate))
