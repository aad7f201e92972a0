"""The held-out utterances that a report plays and resynthesises."""

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
    """Some utterances of each speaker; utterance k is generated with seed + k.

    The first utterances of all speakers come before all second ones, so that the sounds of a speaker have the same
    seed whatever else is generated.

    Attributes:
        sample_rate: Hz.
        ids: Speaker and id of each utterance.
        shown: Number of utterances, from the first on, whose sounds are on the page.
        recordings: The beginning of each recording, (T,).
        lengths: Number of samples to generate for each utterance.
        conditions: The conditions of each utterance, for that number of samples.
    """

    sample_rate: int
    ids: Sequence[tuple[str, str]]
    shown: int
    recordings: Sequence[Tensor]
    lengths: Sequence[int]
    conditions: Sequence[Mapping[str, Any]]

    @property
    def num_steps(self) -> int:
        """Number of samples that are generated sequentially."""
        return num_steps(self.lengths)

    def make(self, model: WaveNet, settings: ReportSettings, on_progress: Callable[[int], object]) -> list[Tensor]:
        """Generate the audio of each utterance, (length,)."""
        temperature = settings.utterance_temperature if model.features else 1.0
        return make(model, self.lengths, self.conditions, settings.seed, on_progress, temperature)

    def pairs(self, generated: Sequence[Tensor], seconds: float) -> list[tuple[Tensor, Tensor]]:
        """Return the generated audio and the recordings, each cut to a maximum length."""
        length = _samples(seconds, self.sample_rate)
        return [(a[:length], b[:length]) for a, b in zip(generated, self.recordings, strict=True)]

    def sounds(self, generated: Sequence[Tensor], name: str, model: WaveNet, settings: ReportSettings) -> list[Sound]:
        """Return the sounds of each speaker on the page: a recording, and the audio of the model called `name`."""
        length, sounds = _samples(settings.sound_seconds, self.sample_rate), []
        kind = "resynthesised" if model.features else "generated"
        for k, (speaker, utterance) in enumerate(self.ids[: self.shown]):
            requested = requested_conditions(model, self.conditions[k]).items()
            text = ", ".join(
                f"the recording's {n}" if isinstance(value, Tensor) else f"{n} {value}" for n, value in requested
            )
            recording, resynthesis = (self._file(each[k][:length]) for each in (self.recordings, generated))
            sounds.append(Sound(speaker, "recording", "", utterance, "", None, *recording))
            sounds.append(Sound(speaker, kind, name, utterance, text or "none", settings.seed + k, *resynthesis))
        return sounds

    def _file(self, waveform: Tensor) -> tuple[bytes, dict[str, Any]]:
        file = encode(waveform, self.sample_rate)
        return file, facts(decode(file), self.sample_rate)


def select_utterances(model: WaveNet, corpus: Corpus, settings: ReportSettings) -> Selection:
    """Select the utterances to play, and for a model with features those to resynthesise and measure.

    Of each speaker those come first that are as long as the page's sounds, in the corpus's order, and then shorter
    ones. For a model with features, audio is generated for the measures and for the page; for others, for the page.
    """
    rate, measured = model.sample_rate, settings.utterances if model.features else 0
    sound_length = _samples(settings.sound_seconds, rate) if settings.sound_seconds else 0
    by_speaker = {speaker: indices for speaker, indices in grouped(corpus).items() if speaker != "all"}
    sizes = [utterance.num_samples for utterance in corpus.utterances]
    best = {
        speaker: sorted(indices, key=lambda i: -min(sound_length, sizes[i])) for speaker, indices in by_speaker.items()
    }
    shown = list(best)[: settings.max_speakers] if sound_length else []
    ranks = {speaker: indices[: max(measured, speaker in shown)] for speaker, indices in best.items()}
    chosen = [
        (speaker, indices[rank])
        for rank in range(max(map(len, ranks.values())))
        for speaker, indices in ranks.items()
        if rank < len(indices)
    ]
    limit = max(sound_length, _samples(settings.utterance_seconds, rate) if measured else 0)
    recordings = [corpus.read(i, 0, min(limit, sizes[i])) for _, i in chosen]
    lengths = [len(recording) if model.features else sound_length for recording in recordings]
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
