"""Generated audio beside the recordings of the same speakers, as a whole: level, silence, noise and spectrum."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wavenet.audio.silence import FRAME_SECONDS
from wavenet.data import Corpus
from wavenet.evaluation import (
    LongTerm,
    grouped,
    level_distance,
    long_term,
    long_term_distance,
    spectrum_distance,
)
from wavenet.model import WaveNet
from wavenet.report.settings import ReportSettings
from wavenet.report.synthesis import make, num_steps
from wavenet.report.temperatures import compare_temperatures
from wavenet.report.verdict import verdict

_MOST_RECORDED = 300.0  # seconds of a speaker's recordings; a single speaker may have hours held out


@dataclass(frozen=True)
class Requests:
    """Utterances to generate, and the recordings to measure them beside.

    Utterance k is generated with seed + k, at every temperature. The first utterances of all speakers come before all
    second ones.

    Attributes:
        speakers: The names.
        recordings: Of each speaker, (T,) each.
        lengths: Number of samples of each utterance.
        conditions: The conditions of each.
        sample_rate: Hz.
    """

    speakers: list[str]
    recordings: list[list[Tensor]]
    lengths: list[int]
    conditions: list[dict[str, Any]]
    sample_rate: int

    def num_steps(self, temperatures: Sequence[float]) -> int:
        """Return the number of samples that are generated sequentially."""
        return len(temperatures) * num_steps(self.lengths) if self.lengths else 0

    def measure(
        self, model: WaveNet, settings: ReportSettings, on_progress: Callable[[int], object]
    ) -> dict[float, list[list[LongTerm]]]:
        """Generate and measure, for each temperature and speaker: all utterances, and all but each one in turn."""
        measured = {}
        for temperature in dict.fromkeys(settings.temperatures):
            sounds = make(model, self.lengths, self.conditions, settings.seed, on_progress, temperature)
            by_speaker = [sounds[k :: len(self.speakers)] for k in range(len(self.speakers))]
            measured[temperature] = [self._with_and_without(each) for each in by_speaker]
        return measured

    def _with_and_without(self, sounds: list[Tensor]) -> list[LongTerm]:
        without = [sounds[:k] + sounds[k + 1 :] for k in range(len(sounds))] if len(sounds) > 1 else []
        return [long_term(each, self.sample_rate) for each in [sounds, *without]]


def request_utterances(model: WaveNet, corpus: Corpus, settings: ReportSettings) -> Requests:
    """Choose what to generate for each speaker: with features, what recordings say, and otherwise new speech.

    A model that has features is measured beside the recordings whose features it has, others beside the speaker's
    recordings, of which five minutes are read at most. Recordings shorter than a frame are left out, and so are
    speakers without longer ones.
    """
    rate, shortest = model.sample_rate, round(FRAME_SECONDS * model.sample_rate)
    longest = max(shortest, round(settings.long_term_seconds * rate))
    groups = {
        speaker: [i for i in indices if corpus.utterances[i].num_samples >= shortest]
        for speaker, indices in grouped(corpus).items()
        if speaker != "all"
    }
    groups = {speaker: indices for speaker, indices in groups.items() if indices}
    groups = {speaker: groups[speaker] for speaker in list(groups)[: settings.long_term_speakers]}
    chosen = [
        indices[number % len(indices)] for number in range(settings.long_term_utterances) for indices in groups.values()
    ]
    sizes = [corpus.utterances[i].num_samples for i in chosen]
    lengths = [min(longest, size) if model.features else longest for size in sizes]
    recordings = [_recordings(corpus, indices, chosen, longest, bool(model.features)) for indices in groups.values()]
    conditions = [corpus.conditions(i, 0, length) for i, length in zip(chosen, lengths, strict=True)]
    return Requests(list(groups), recordings, lengths, conditions, rate)


def _recordings(
    corpus: Corpus, indices: Sequence[int], chosen: Sequence[int], longest: int, has_features: bool
) -> list[Tensor]:
    if has_features:
        return [corpus.read(i, 0, min(longest, corpus.utterances[i].num_samples)) for i in indices if i in chosen]
    recordings, left = [], round(_MOST_RECORDED * corpus.sample_rate)
    for i in indices:
        size = min(left, corpus.utterances[i].num_samples)
        if size >= round(FRAME_SECONDS * corpus.sample_rate):
            recordings.append(corpus.read(i, 0, size))
            left -= size
    return recordings


def measure_generated(
    requests: Requests, model: WaveNet, settings: ReportSettings, on_progress: Callable[[int], object]
) -> dict[str, Any]:
    """Generate utterances at each temperature, and compare them with the recordings of each speaker.

    Args:
        requests: What to generate, and beside what; not empty.
        model: The model.
        settings: The temperatures, the seed and the confidence level.
        on_progress: Called with the number of samples generated since the last call.

    Returns:
        Plain data. "recordings": by speaker, level, silence and flatness, and "halves": the distances of every second
        recording from the others, None for one; "temperatures": for each the same measures of generated audio
        "by_speaker", its distances from the recordings, and the "verdict", a list of texts, empty if nothing stands
        out; and everything of `compare_temperatures`. "all" has the means over speakers.
    """
    recordings = [long_term(sounds, requests.sample_rate) for sounds in requests.recordings]
    measured = requests.measure(model, settings, on_progress)
    found = compare_temperatures(measured, recordings, settings.confidence)
    temperatures = []
    for temperature, by_speaker in measured.items():
        rows = {
            name: _measures(each[0]) | _distances(each[0], own) | {"verdict": verdict(each[0], own)}
            for name, each, own in zip(requests.speakers, by_speaker, recordings, strict=True)
        }
        temperatures.append({"temperature": temperature, "by_speaker": rows | {"all": _means(list(rows.values()))}})
    own_rows = {
        name: _measures(own) | {"halves": _halves(sounds, requests.sample_rate)}
        for name, own, sounds in zip(requests.speakers, recordings, requests.recordings, strict=True)
    }
    return {
        "utterances": settings.long_term_utterances,
        "seconds": settings.long_term_seconds,
        "seed": settings.seed,
        "recordings": own_rows | {"all": _means(list(own_rows.values())) | {"halves": _mean_halves(own_rows)}},
        "temperatures": temperatures,
        **found,
    }


def shown_temperature(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the measures at the temperature that a table of speakers shows: the best one, or else the first."""
    rows = found["temperatures"]
    return next((row for row in rows if row["temperature"] == found["best"]), rows[0])


def best_in_words(found: Mapping[str, Any]) -> str:
    """Name the temperature whose audio was most like the recordings, and those that may be as good."""
    if found["best"] is None:
        return "no temperature is the best: at each of them a speaker is silent; try higher ones, or train for longer"
    criterion = "by the mean distance of spectrum, flatness and levels"
    text = f"audio at temperature {found['best']:g} is most like the recordings, {criterion}"
    if found["utterances"] < 2:
        return f"{text}; long_term.utterances=8 shows how much that varies with the seed"
    others = ", ".join(f"{temperature:g}" for temperature in found["not_distinguished"])
    return f"{text}; {others} may be as good: these seeds show no clear difference" if others else text


def _measures(sound: LongTerm) -> dict[str, Any]:
    return {"level": sound.level, "silence": sound.silence, "flatness": sound.flatness}


def _distances(a: LongTerm, b: LongTerm) -> dict[str, float]:
    return {
        "spectrum_distance": spectrum_distance(a, b),
        "flatness_distance": abs(a.flatness - b.flatness),
        "level_distance": level_distance(a, b),
        "distance": long_term_distance(a, b),
    }


def _halves(sounds: Sequence[Tensor], sample_rate: int) -> dict[str, float] | None:
    if len(sounds) < 2:
        return None
    return _distances(long_term(sounds[::2], sample_rate), long_term(sounds[1::2], sample_rate))


def _mean_halves(rows: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    halves = [row["halves"] for row in rows.values() if row["halves"]]
    return _means(halves) if halves else None


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in names}
