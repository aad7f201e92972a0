"""The report on small models and real speech: its numbers, its sounds, and its page read as a browser would."""

import base64
import importlib.util
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import soundfile
import torch

from tests.conftest import CHROMIUM, PROMPTS
from wavenet import WaveNet
from wavenet.audio import read, write
from wavenet.conditioning import CategoricalEmbedding, MelConditioner
from wavenet.data import Corpus, add_features
from wavenet.data.corpus import Prepared
from wavenet.distributions import LogisticMixture, MuLawCategorical
from wavenet.evaluation import Clips, Score, bits_per_sample, ratio_interval, similarity, utterance_bits
from wavenet.nn import Upsampling
from wavenet.report import ReportSettings, compare, render, report_on_model
from wavenet.report.model_report import finite
from wavenet.report.sounds import encode, facts
from wavenet.report.synthesis import make

pytestmark = pytest.mark.slow

RATE = 8000
NAMES = ["<script>alert(1)</script>", "june", 'Zoë & "co"']
PLAN = ReportSettings(sound_seconds=0.3, utterances=2, utterance_seconds=0.8, speed_seconds=0.05, seed=5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three speakers, of whom one has a single utterance, shorter than the sounds of the page."""
    folder, utterances = tmp_path_factory.mktemp("corpus"), []
    lengths = {"0-a": 8000, "0-b": 9600, "0-c": 4000, "1-a": 12_000, "1-b": 7000, "2-a": 2000}
    for number, (name, length) in enumerate(lengths.items()):
        waveform, _ = read(PROMPTS / "june" / f"june_{number + 1:03d}.flac", RATE)
        path = folder / f"{name}.wav"
        write(path, waveform.repeat(4)[1000 : 1000 + length], RATE)
        speaker = {"speaker": NAMES[int(name[0])]}
        utterances.append(Prepared(f"{name}<b>", path, path, length, length / RATE, speaker))
    return Corpus("speech", RATE, utterances, [], folder=folder)


def model(*conditioners, distribution=None, rate=RATE):
    sizes = {"residual_channels": 6, "gate_channels": 8, "skip_channels": 10, "condition_channels": 3}
    made = distribution or MuLawCategorical(256, 5)
    return WaveNet(made, rate, {c.name: c for c in conditioners}, **sizes, dilation_cycle=3, num_cycles=2).eval()


def speaking(**options):
    torch.manual_seed(0)
    return model(CategoricalEmbedding("speaker", NAMES, 3), **options)


def singing(**options):
    torch.manual_seed(0)
    mel = MelConditioner(RATE, 3, n_fft=128, hop_length=8, n_mels=6, upsampling=Upsampling([2]), hidden_channels=5)
    return model(mel, **options)


@pytest.fixture(scope="module")
def spoken(corpus):
    return report_on_model("spoken", speaking(), corpus, PLAN)


@pytest.fixture(scope="module")
def sung(corpus):
    return report_on_model("sung", singing(), add_features(corpus, singing().features, progress=False), PLAN)


def written(*reports, comparison=None):
    """What the command would write."""
    models = [{"checkpoint": f"runs/{e.name}", "weights": "float32"} | e.result for e in reports]
    common = {"version": "1", "date": "2000-01-01", "machine": "an abacus", "confidence": 0.95, "seed": 5}
    result = json.loads(json.dumps(finite(common | {"models": models, "comparison": comparison}), allow_nan=False))
    return result, render(result, reports)


class Page(HTMLParser):
    """Elements with their attributes, words, and whether all that was opened is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def heard(address):
    kind, data = address.split(",", 1)
    assert kind == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data, validate=True)), dtype="float32")
    return torch.from_numpy(samples), rate


def test_bits_are_those_of_the_corpus_and_their_intervals_those_of_its_utterances(spoken, corpus):
    scores = bits_per_sample(speaking(), corpus)
    found = spoken.result["bits_per_sample"]
    assert list(found) == [*sorted(NAMES), "all"]
    each = [utterance_bits(speaking(), corpus.read(i), corpus.conditions(i)) for i in range(6)]
    for speaker, score in scores.items():
        own = [s for s, u in zip(each, corpus.utterances, strict=True) if speaker in ("all", u.conditions["speaker"])]
        assert found[speaker]["value"] == pytest.approx(score.bits_per_sample)
        assert found[speaker]["as_16_bit"] == pytest.approx(score.bits_per_16_bit_sample)
        assert (found[speaker]["samples"], found[speaker]["utterances"]) == (score.samples, score.utterances)
        if len(own) == 1:
            assert found[speaker]["interval"] is None and found[speaker]["as_16_bit_interval"] is None
            continue
        expected = ratio_interval([s.bits for s in own], [s.samples for s in own])
        assert found[speaker]["interval"] == pytest.approx(expected)
        assert expected[0] < found[speaker]["value"] < expected[1]


def test_every_speaker_is_heard_and_the_page_is_the_json(spoken, sung):
    for report, kind in ((spoken, "generated"), (sung, "resynthesised")):
        result, text = written(report)
        page, described = Page(text), result["models"][0]["sounds"]
        players = page.all("audio")
        assert [(s["speaker"], s["kind"]) for s in described] == [
            (name, k) for name in sorted(NAMES) for k in ("recording", kind)
        ]
        assert len(players) == len(page.all("img")) == len(page.all("figure")) == 6
        assert len({player["src"] for player in players}) == 6
        for player, said in zip(players, described, strict=True):
            waveform, rate = heard(player["src"])
            assert (rate, len(waveform)) == (RATE, said["samples"])
            assert said | facts(waveform, rate) == said
            assert player["aria-label"].endswith(f"{said['speaker']}, {said['seconds']:.2f} seconds")
            assert "controls" in player
        short = 2000 if kind == "resynthesised" else 2400  # a generated sound is not of the recording's length
        assert [s["samples"] for s in described if s["speaker"] == NAMES[2]] == [2000, short]


def test_a_recording_is_the_recording_and_what_is_made_is_what_its_seed_makes(spoken, sung, corpus):
    for report, built in ((spoken, speaking()), (sung, singing())):
        for number, speaker in enumerate(sorted(NAMES)):
            recording, made = (sound for sound in report.sounds if sound.speaker == speaker)
            index = [utterance.id for utterance in corpus.utterances].index(recording.utterance)
            torch.testing.assert_close(recording.decoded(), corpus.read(index)[:2400], rtol=0, atol=2 / 2**15)
            assert made.seed == 5 + number and made.utterance == recording.utterance
            length = 2400 if made.kind == "generated" else min(6400, len(corpus.read(index)))
            alone = make(built, [length], [report.corpus.conditions(index, 0, length)], made.seed)[0]
            torch.testing.assert_close(made.decoded(), alone[:2400], rtol=0, atol=2 / 2**15)


def test_resynthesis_is_judged_by_speaker(sung, corpus):
    found = sung.result["resynthesis"]
    assert (found["utterances"], found["held_out_utterances"]) == (5, 6)
    assert found["seconds"] == pytest.approx(4 * 0.8 + 0.25)
    assert found["pesq"] == {"sample_rate": 8000, "mode": "nb"}
    first = next(one for one in found["each"] if one["utterance"] == "1-a<b>")
    index = 3
    seed = 5 + sorted(NAMES).index("june")
    told = sung.corpus.conditions(index, 0, 6400)
    alike = similarity(make(singing(), [6400], [told], seed)[0], corpus.read(index, 0, 6400), RATE)
    for name in ("log_mel_distance", "mel_cepstral_distortion", "voicing_error"):
        assert first[name] == pytest.approx(getattr(alike, name), rel=1e-6)
    for name in ("log_mel_distance", "voicing_error"):
        values = [one[name] for one in found["each"]]
        every = found["by_speaker"]["all"][name]
        assert (every["value"], every["utterances"]) == (pytest.approx(math.fsum(values) / 5), 5)
        assert every["interval"] == pytest.approx(ratio_interval(values, [1] * 5))
    lonely = found["by_speaker"][NAMES[2]]
    assert lonely["log_mel_distance"]["utterances"] == 1 and lonely["log_mel_distance"]["interval"] is None
    assert lonely["pesq"]["value"] is None  # of a quarter of a second
    assert found["reasons"]["PESQ: shorter than 0.5 s"] == found["reasons"]["STOI: shorter than 0.5 s"] == 1


def test_without_the_extras_the_page_says_what_to_install(corpus, monkeypatch):
    from wavenet.audio import Pitch

    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    monkeypatch.setattr(Pitch, "is_available", staticmethod(lambda: False))
    settings = replace(PLAN, utterances=1, sound_seconds=0, speed_seconds=0)
    told = add_features(replace(corpus, utterances=corpus.utterances[:1]), singing().features, progress=False)
    result, text = written(report_on_model("sung", singing(), told, settings))
    assert set(result["models"][0]["resynthesis"]["reasons"]) == {
        'PESQ needs pip install "wavenet[report]"',
        'STOI needs pip install "wavenet[report]"',
        'F0 and voicing need pip install "wavenet[pitch]"',
    }
    page = Page(text)
    assert 'Not to be had for 1 of 1: PESQ needs pip install "wavenet[report]".' in page.text
    assert page.all("audio") == [] and "Sounds" not in page.words
    assert result["models"][0]["sounds"] == [] and result["models"][0]["speed"] is None


def test_nothing_from_data_is_markup_and_nothing_is_fetched(spoken, sung):
    text = written(spoken, sung, comparison=compare([spoken, sung]))[1]
    page = Page(text)
    assert page.all("script") == [] and page.all("b") == []
    assert NAMES[0] in page.words  # as it is called, for people to read
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "data", "poster", "srcset", "action"):
                assert value.startswith("data:"), (tag, name, value[:50])
    assert not re.search(r"url\(|@import|https?://", text)
    for image in page.all("img"):
        assert image["alt"].startswith("Spectrogram: ")
        assert base64.b64decode(image["src"].split(",", 1)[1]).startswith(b"\x89PNG")
    for heading in page.all("th"):
        assert heading["scope"] in ("col", "row")
    for drawing in page.all("svg"):
        assert drawing["role"] == "img" and drawing["aria-label"]
    assert page.all("html") == [{"lang": "en"}]


def test_models_are_compared_on_the_same_utterances(spoken, sung):
    comparison = compare([spoken, sung])
    assert comparison["same_utterances"] and comparison["reason"] == ""
    (difference,) = comparison["differences"]
    assert (difference["of"], difference["minus"]) == ("sung", "spoken")
    bits = [b.bits + b.log2_levels - a.bits - a.log2_levels for a, b in zip(spoken.scores, sung.scores, strict=True)]
    samples = [a.samples for a in spoken.scores]
    every = difference["by_speaker"]["all"]
    assert every["value"] == pytest.approx(sum(bits) / sum(samples))
    assert every["interval"] == pytest.approx(ratio_interval(bits, samples))
    separate = [each.result["bits_per_sample"]["all"]["as_16_bit"] for each in (spoken, sung)]
    assert every["value"] == pytest.approx(separate[1] - separate[0])
    assert difference["by_speaker"][NAMES[2]]["interval"] is None

    page = Page(written(spoken, sung, comparison=comparison)[1])
    assert len(page.all("audio")) == 9  # each recording once, and what both made of it
    assert page.text.count("sung minus spoken") == 1
    for speaker in NAMES:
        of = {s.seed for each in (spoken, sung) for s in each.sounds if s.speaker == speaker and s.seed is not None}
        assert len(of) == 1


def test_what_does_not_compare_is_labelled(spoken, sung, corpus):
    fewer = replace(spoken, name="fewer", corpus=replace(corpus, utterances=corpus.utterances[1:]))
    other = replace(spoken, corpus=replace(corpus, name="music"))
    faster = replace(spoken, corpus=replace(corpus, sample_rate=16000))
    for report, reason in (
        (fewer, "spoken has 6 held-out utterances and fewer 5, of which 5 are the same; dataset=NAME takes the same"),
        (other, "the datasets differ: speech, music; dataset=NAME"),
        (faster, "the models speak at 8000, 16000 Hz"),
    ):
        comparison = compare([spoken, report])
        assert not comparison["same_utterances"] and comparison["differences"] == []
        assert comparison["reason"].startswith(reason)
    page = Page(written(spoken, fewer, comparison=compare([spoken, fewer]))[1])
    assert f"These figures do not compare: {compare([spoken, fewer])['reason']}." in page.text
    assert len(page.all("audio")) == 12  # nothing is taken to be the same


def test_bits_per_byte_are_counted_or_not_with_a_reason(corpus):
    settings = ReportSettings(clips=Clips(0.25), sound_seconds=0, utterances=0, speed_seconds=0)
    counted = report_on_model("counted", speaking(), corpus, settings).result["bits_per_byte"]
    assert counted["by_speaker"]["all"]["samples"] == sum(u.num_samples for u in corpus.utterances)
    assert 6 < counted["by_speaker"]["all"]["value"] < 10
    assert counted["by_speaker"][NAMES[2]]["interval"] is None
    long = report_on_model("long", speaking(), corpus, replace(settings, clips=Clips(5, drop_rest=True)))
    assert long.result["bits_per_byte"]["reason"] == "no utterance is as long as a clip of 5 s"
    told = add_features(corpus, singing().features, progress=False)
    featured = report_on_model("conditions", singing(), told, settings)
    assert featured.result["bits_per_byte"]["reason"].startswith("the model is conditioned on mel of each recording")
    page = Page(written(long, featured)[1])
    assert "long: cannot be counted. no utterance is as long" in page.text
    assert not any("as published" in words for words in page.words)


def test_published_figures_stand_beside_their_own_kind_only(corpus, spoken):
    def shown(**changes):
        settings = ReportSettings(clips=Clips(1), sound_seconds=0, utterances=0, speed_seconds=0)
        short = replace(corpus, name="sc09", sample_rate=16000, utterances=corpus.utterances[:2])
        found = report_on_model("m", model(rate=16000), short, settings)
        found.result.update({k: v for k, v in changes.items() if k != "how"})
        found.result["bits_per_byte"].update(changes.get("how", {}))
        return "SaShiMi, as published" in Page(written(found)[1]).words

    assert shown()
    assert not shown(dataset="music")
    assert not shown(conditions=["speaker"])
    assert not shown(sample_rate=8000)
    assert not shown(how={"stretch": False})


def test_speed_is_measured_and_says_on_what(spoken):
    found = spoken.result["speed"]
    assert found["times_real_time"] == pytest.approx(found["samples_per_second"] / RATE)
    assert found["real_time_factor"] * found["times_real_time"] == pytest.approx(1)
    assert (found["seconds"], found["threads"], found["utterances"]) == (0.05, 1, 1)
    assert found["backend"] == "cpu" and "torch" in found["machine"]


def test_narrower_weights_without_their_backend(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "wavenet.native.instructions", None)
    settings = ReportSettings(sound_seconds=0, speed_seconds=0.01, weights="int8")
    found = report_on_model("m", speaking(), replace(corpus, utterances=corpus.utterances[5:]), settings)
    assert found.result["speed"]["reason"].startswith("weights=int8 are the cpu backend's, which cannot serve: numba")
    assert "which cannot serve" in Page(written(found)[1]).text


def test_speakers_can_be_limited_and_a_model_may_be_told_nothing(corpus):
    found = report_on_model("m", model(), corpus, replace(PLAN, max_speakers=1, speed_seconds=0))
    assert [(s.speaker, s.conditions) for s in found.sounds] == [(NAMES[0], ""), (NAMES[0], "nothing")]
    unnamed = replace(corpus, utterances=[replace(u, conditions={}) for u in corpus.utterances])
    found = report_on_model("m", model(distribution=LogisticMixture(2)), unnamed, replace(PLAN, speed_seconds=0))
    assert {s.speaker for s in found.sounds} == {"unknown"}
    assert "MuLaw" not in Page(written(found)[1]).text


def test_a_speaker_called_all_is_not_all_of_them(corpus):
    called = [replace(u, conditions={"speaker": "all"}) for u in corpus.utterances[:2]]
    whole = replace(corpus, utterances=[*called, *corpus.utterances[3:5]])
    found = report_on_model("m", model(), whole, replace(PLAN, speed_seconds=0))
    bits = found.result["bits_per_sample"]
    assert {name: each["utterances"] for name, each in bits.items()} == {"june": 2, "speaker all": 2, "all": 4}
    assert bits["all"]["samples"] == bits["june"]["samples"] + bits["speaker all"]["samples"]
    assert bits_per_sample(model(), whole)["all"].samples == bits["all"]["samples"]
    assert [sound.speaker for sound in found.sounds] == ["june", "june", "speaker all", "speaker all"]


def test_the_shortest_sounds_and_the_lowest_rate(corpus):
    """Nothing here is worth hearing, and nothing breaks."""
    low = replace(corpus, sample_rate=1000, utterances=corpus.utterances[4:])
    shortest = ReportSettings(sound_seconds=1e-9, utterances=1, utterance_seconds=1e-9, speed_seconds=1e-9, seed=2**62)
    mel = MelConditioner(1000, 3, n_fft=128, hop_length=8, n_mels=6, upsampling=Upsampling([2]), hidden_channels=5)
    built = model(mel, rate=1000)
    found = report_on_model("m", built, add_features(low, built.features, progress=False), shortest)
    result, text = written(found)
    assert [s["samples"] for s in result["models"][0]["sounds"]] == [1] * 4
    assert any("sample_rate" in reason or "n_fft" in reason for reason in result["models"][0]["resynthesis"]["reasons"])
    assert len(Page(text).all("audio")) == 4 and Page(text).all("img") == []


def test_facts_of_a_sound():
    tone = 0.5 * torch.sin(torch.arange(RATE) * 0.3)
    assert facts(tone, RATE)["flags"] == []
    assert facts(tone, RATE)["peak"] == pytest.approx(0.5, abs=1e-3)
    assert facts(tone, RATE)["rms"] == pytest.approx(0.5 / math.sqrt(2), abs=1e-3)
    assert facts(1e-3 * tone, RATE)["flags"] == ["near silence"]
    assert facts(tone + 0.1, RATE)["flags"] == ["DC offset"]
    assert facts(tone + 0.1, RATE)["dc"] == pytest.approx(0.1, abs=1e-3)
    loud = (4 * tone).clamp(-1, 1)
    from wavenet.report.sounds import decode

    found = facts(decode(encode(loud, RATE)), RATE)
    assert found["flags"] == ["clips"]
    assert found["clipped_samples"] == int((loud.abs() == 1).sum())


def test_flags_are_shown(spoken):
    sounds = [replace(s, facts=s.facts | {"flags": ["near silence"]}) for s in spoken.sounds[:1]]
    page = Page(written(replace(spoken, sounds=sounds))[1])
    assert "near silence" in page.words


def test_progress_ends_where_it_said_it_would(corpus):
    told = add_features(corpus, singing().features, progress=False)
    ended = {}

    class Bar:
        def __init__(self, what, total, unit):
            self.what, self.total, self.done = what, total, 0

        def __enter__(self):
            return self.count

        def count(self, more):
            self.done += more

        def __exit__(self, *error):
            ended[self.what] = (self.done, self.total)

    report_on_model("m", singing(), told, PLAN, progress=Bar)
    assert set(ended) == {"scoring", "making sounds", "comparing", "measuring the speed"}
    assert all(done == total > 0 for done, total in ended.values())


def test_what_is_no_number_is_null():
    score = Score()
    assert finite({"a": [math.nan, 1.5, (math.inf,)], "b": score.bits_per_sample}) == {
        "a": [None, 1.5, [None]],
        "b": None,
    }


BROWSER = """
import json, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    context = browser.new_context(color_scheme=sys.argv[3], viewport={"width": int(sys.argv[4]), "height": 800})
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto("file://" + sys.argv[2])
    page.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)")
    print(json.dumps({
        "said": said, "asked": sorted(set(asked)), "title": page.title(),
        "seconds": page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)"),
        "drawn": page.evaluate("[...document.querySelectorAll('img')].map(i => i.naturalWidth)"),
        "wide": page.evaluate("document.documentElement.scrollWidth"),
        "paper": page.evaluate("getComputedStyle(document.body).backgroundColor"),
    }))
    browser.close()
"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="Playwright is not installed")
def test_a_browser_shows_and_plays_it(spoken, sung, tmp_path):
    result, text = written(spoken, sung, comparison=compare([spoken, sung]))
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    papers = set()
    for scheme, width in (("light", 1200), ("dark", 390)):
        command = [sys.executable, "-c", BROWSER, CHROMIUM, str(tmp_path / "report.html"), scheme, str(width)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        seen = json.loads(ended.stdout)
        assert seen["said"] == [] and set(seen["asked"]) <= {"file", "data"}
        assert seen["title"] == "wavenet: spoken and sung"
        made = [s for s in result["models"][1]["sounds"] if s["kind"] != "recording"]
        expected = sorted(s["seconds"] for s in result["models"][0]["sounds"] + made)
        assert sorted(seen["seconds"]) == pytest.approx(expected, abs=1e-3)
        assert all(pixels > 10 for pixels in seen["drawn"])
        assert seen["wide"] == width  # nothing sticks out
        papers.add(seen["paper"])
    assert len(papers) == 2
