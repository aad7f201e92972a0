"""Generated audio beside recordings: its measures, verdicts, and the choice of a temperature."""

import math
from dataclasses import replace

import pytest
import torch

from tests.conftest import PROMPTS
from tests.report.test_report import Page, corpus, speaker_model, vocoder, written
from wavenet.audio import read
from wavenet.data import add_features
from wavenet.evaluation import jackknife_interval, long_term, long_term_distance, spectrum_distance
from wavenet.report import ReportSettings, report_on_model
from wavenet.report.generated import best_in_words, request_utterances
from wavenet.report.synthesis import make
from wavenet.report.temperatures import compare_temperatures
from wavenet.report.verdict import verdict

pytestmark = pytest.mark.slow

__all__ = ["corpus"]  # a fixture

RATE = 8000
SETTINGS = ReportSettings(
    sound_seconds=0, utterances=0, speed_seconds=0, seed=5, long_term_utterances=2, long_term_seconds=0.5
)


def speech(*numbers, speaker="june"):
    return [read(PROMPTS / speaker / f"{speaker}_{n:03d}.flac", RATE)[0] for n in numbers]


def measured(*sounds):
    return long_term(sounds, RATE)


def noise(seconds=5, level=0.1):
    return level * torch.randn(seconds * RATE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def recordings():
    return measured(*speech(1, 2, 3))


def test_other_words_of_the_same_voice_have_no_verdict(recordings):
    assert verdict(measured(*speech(4, 5, 6)), recordings) == []
    assert verdict(recordings, recordings) == []


def test_noise_and_silence_are_named_with_their_figures(recordings):
    (found, *_) = verdict(measured(noise()), recordings)
    assert found.startswith("noise: flatness -2.5 dB, against -20.8 of the recordings and -2.5 of white noise; train")
    for silence in (torch.zeros(RATE), torch.full((RATE,), 0.5), 1e-4 * noise()):
        (found,) = verdict(measured(silence), recordings)
        assert found.startswith("silence: 100 % of it is silent, and 11 % of the recordings; try a higher temperature")


def test_hoarse_speech_is_noisy_and_not_noise(recordings):
    def kinds(level):
        hoarse = [
            x + level * x.std() * torch.randn(len(x), generator=torch.Generator().manual_seed(1)) for x in speech(1)
        ]
        return [text.split(":")[0] for text in verdict(measured(*hoarse), recordings)]

    assert kinds(0.003) == []
    assert kinds(0.1)[0] == "noisy"
    assert kinds(3)[0] == "noise"


@pytest.mark.parametrize(("gain", "kind"), [(0.4, "too quiet: 8.0 dB below"), (2.5, "too loud: 8.0 dB above")])
def test_the_level_is_named(recordings, gain, kind):
    assert verdict(measured(*(gain * x for x in speech(1, 2, 3))), recordings) == [f"{kind} the recordings"]
    assert verdict(measured(*(0.7 * x for x in speech(1, 2, 3))), recordings) == []


def test_pauses_are_named_where_they_are_much_longer_or_shorter(recordings):
    paused = measured(*speech(1, 2, 3), torch.zeros(8 * RATE))
    assert verdict(paused, recordings)[0].startswith("long pauses: ")
    assert any(found.startswith("few pauses: ") for found in verdict(recordings, paused))


def test_a_different_timbre_is_named(recordings):
    dull = [torch.nn.functional.avg_pool1d(x[None], 8, 1)[0] for x in speech(1, 2, 3)]
    distance = spectrum_distance(measured(*dull), recordings)
    found = f"different timbre: the spectrum differs by {distance:.1f} dB from that of the recordings"
    assert found in verdict(measured(*dull), recordings)


def test_noise_in_the_recordings_is_no_fault():
    assert verdict(measured(noise()), measured(noise())) == []


def test_speakers_are_measured_beside_all_their_recordings(corpus):
    found = report_on_model("m", speaker_model(), corpus, SETTINGS).result["long_term"]
    speakers = ["<script>alert(1)</script>", 'Zoë & "co"', "june"]
    assert list(found["recordings"]) == [*sorted(speakers), "all"]
    (row,) = found["temperatures"]
    for number, speaker in enumerate(sorted(speakers)):
        indices = [i for i, u in enumerate(corpus.utterances) if u.conditions["speaker"] == speaker]
        own = measured(*(corpus.read(i) for i in indices))
        sounds = [
            make(speaker_model(), [4000], [corpus.conditions(indices[0])], 5 + number + 3 * round_)[0]
            for round_ in range(2)
        ]
        generated = measured(*sounds)
        assert row["by_speaker"][speaker]["level"] == pytest.approx(generated.level)
        assert row["by_speaker"][speaker]["distance"] == pytest.approx(long_term_distance(generated, own))
        assert row["by_speaker"][speaker]["verdict"] == verdict(generated, own)
        assert found["recordings"][speaker]["flatness"] == pytest.approx(own.flatness)
        assert (found["recordings"][speaker]["halves"] is None) == (len(indices) == 1)
    mean = math.fsum(row["by_speaker"][speaker]["distance"] for speaker in speakers) / 3
    assert row["by_speaker"]["all"]["distance"] == pytest.approx(mean)
    assert found["distances"][0]["distance"] == pytest.approx(mean) and found["best"] == 1


def test_a_vocoder_is_measured_beside_what_it_resynthesises(corpus):
    with_features = add_features(corpus, vocoder().features, progress=False)
    requests = request_utterances(vocoder(), with_features, SETTINGS)
    assert requests.lengths == [4000, 2000, 4000, 4000, 2000, 4000]  # the second has one recording, of a quarter second
    assert [len(sounds) for sounds in requests.recordings] == [2, 1, 2]
    assert all(len(sound) <= 4000 for sounds in requests.recordings for sound in sounds)


def test_of_many_recordings_five_minutes_are_read(corpus, monkeypatch):
    monkeypatch.setattr("wavenet.report.generated._MOST_RECORDED", 1.5)
    requests = request_utterances(speaker_model(), corpus, SETTINGS)
    lengths = {name: list(map(len, own)) for name, own in zip(requests.speakers, requests.recordings, strict=True)}
    assert lengths == {"<script>alert(1)</script>": [8000, 4000], "june": [12_000], 'Zoë & "co"': [2000]}


def test_speakers_may_be_limited_and_measures_left_out(corpus):
    few = request_utterances(speaker_model(), corpus, replace(SETTINGS, long_term_speakers=1))
    assert len(few.speakers) == 1 and len(few.lengths) == 2
    without = report_on_model("m", speaker_model(), corpus, replace(SETTINGS, long_term_utterances=0))
    assert without.result["long_term"] is None
    assert "Generated audio beside recordings" not in Page(written(without)[1]).words


def test_recordings_shorter_than_a_frame_are_left_out(corpus):
    short = replace(corpus, utterances=[replace(u, num_samples=100) for u in corpus.utterances])
    assert request_utterances(speaker_model(), short, SETTINGS).lengths == []


def test_the_page_shows_measures_verdicts_and_temperatures(corpus):
    settings = replace(SETTINGS, temperatures=[0.5, 1])
    report = report_on_model("m", speaker_model(), corpus, settings)
    result, text = written(report)
    page, found = Page(text), result["models"][0]["long_term"]
    assert "Generated audio beside recordings" in page.words
    shown = next(row for row in found["temperatures"] if row["temperature"] == found["best"])
    for speaker, row in shown["by_speaker"].items():
        assert f"{row['level']:.1f}" in page.words
        for fault in row.get("verdict", []):
            kind, _, figures = fault.partition(":")
            assert kind in page.words and any(figures in words for words in page.words), speaker
    for row in found["distances"]:
        assert f"{row['distance']:.2f}" in page.words
    assert best_in_words(found)[1:] in page.text
    assert "best" in page.words


def louder(decibels):
    return [10 ** (decibels / 20) * x for x in speech(4, 5, 6, 7)]


def with_and_without(sounds):
    return [measured(*sounds), *(measured(*sounds[:k], *sounds[k + 1 :]) for k in range(len(sounds)))]


def test_the_temperature_nearest_to_the_recordings_is_chosen(recordings):
    distant = {t: [with_and_without(louder(40 * (t - 1)))] for t in (0.5, 0.9, 1, 1.2, 1.5)}
    found = compare_temperatures(distant, [recordings])
    distances = [row["distance"] for row in found["distances"]]
    assert found["best"] == 1
    assert distances == [pytest.approx(long_term_distance(each[0][0], recordings)) for each in distant.values()]
    assert distances[0] > distances[1] > distances[2] < distances[3] < distances[4]
    assert 0.5 not in found["not_distinguished"] and 1.5 not in found["not_distinguished"]
    first = found["distances"][0]
    whole, *without = (
        long_term_distance(a, recordings) - long_term_distance(b, recordings)
        for a, b in zip(distant[0.5][0], distant[1][0], strict=True)
    )
    assert first["above_best"] == pytest.approx(jackknife_interval(whole, without)) and first["above_best"][0] > 0


def test_the_same_audio_is_not_distinguished(recordings):
    found = compare_temperatures({t: [with_and_without(speech(4, 5, 6))] for t in (0.9, 1)}, [recordings])
    assert (found["best"], found["not_distinguished"]) == (0.9, [1])
    assert best_in_words(found | {"utterances": 3}).endswith("; 1 may be as good: these seeds show no clear difference")


def test_a_silent_temperature_is_never_the_best(recordings):
    silent, noisy = [with_and_without([torch.zeros(RATE)] * 2)], [with_and_without([noise(), noise()])]
    found = compare_temperatures({0.5: silent, 1: noisy}, [recordings])
    assert found["best"] == 1 and math.isnan(found["distances"][0]["distance"])
    nothing = compare_temperatures({0.5: silent}, [recordings])
    assert nothing["best"] is None
    assert best_in_words(nothing | {"utterances": 2}).startswith("no temperature is the best: at each of them")


def test_one_utterance_has_no_interval(recordings):
    found = compare_temperatures({t: [[measured(*speech(4))]] for t in (0.9, 1)}, [recordings])
    assert found["distances"][1]["above_best"] is None and found["not_distinguished"] == []
    assert "long_term.utterances=8 shows how much" in best_in_words(found | {"utterances": 1})
