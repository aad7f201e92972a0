"""The report on small models and real speech: its figures, its sounds, and its page, parsed and in a browser."""

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
from wavenet.extras import install_command
from wavenet.nn import Upsampling
from wavenet.report import ReportSettings, compare, render, report_on_model
from wavenet.report.model_report import finite
from wavenet.report.sounds import encode, facts
from wavenet.report.synthesis import make

pytestmark = pytest.mark.slow

RATE = 8000
NAMES = ["<script>alert(1)</script>", "june", 'Zoë & "co"']
WHOLE = {"long_term_utterances": 2, "long_term_seconds": 0.4, "utterance_temperature": 0.8}
PLAN = ReportSettings(sound_seconds=0.3, utterances=2, utterance_seconds=0.8, speed_seconds=0.05, seed=5, **WHOLE)


BITS_ONLY = {"sound_seconds": 0, "utterances": 0, "speed_seconds": 0, "long_term_utterances": 0}


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
    built = distribution or MuLawCategorical(256, 5)
    return WaveNet(built, rate, {c.name: c for c in conditioners}, **sizes, dilation_cycle=3, num_cycles=2).eval()


def speaker_model(**options):
    torch.manual_seed(0)
    return model(CategoricalEmbedding("speaker", NAMES, 3), **options)


def small_mel(rate):
    return MelConditioner(rate, 3, n_fft=128, hop_length=8, n_mels=6, upsampling=Upsampling([2]), hidden_channels=5)


def vocoder(**options):
    torch.manual_seed(0)
    return model(small_mel(RATE), **options)


@pytest.fixture(scope="module")
def conditional(corpus):
    return report_on_model("conditional", speaker_model(), corpus, PLAN)


@pytest.fixture(scope="module")
def vocoded(corpus):
    return report_on_model("vocoder", vocoder(), add_features(corpus, vocoder().features, progress=False), PLAN)


def written(*reports, comparison=None):
    """The JSON and the HTML as the command writes them."""
    models = [{"checkpoint": f"runs/{e.name}", "weights": "float32"} | e.result for e in reports]
    common = {"version": "1", "date": "2000-01-01", "machine": "an abacus", "confidence": 0.95, "seed": 5}
    result = json.loads(json.dumps(finite(common | {"models": models, "comparison": comparison}), allow_nan=False))
    return result, render(result, reports)


class Page(HTMLParser):
    """Elements with their attributes and the text; checks that every element is closed, in order."""

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


def decoded_audio(address):
    kind, data = address.split(",", 1)
    assert kind == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data, validate=True)), dtype="float32")
    return torch.from_numpy(samples), rate


def test_bits_are_those_of_the_corpus_and_their_intervals_those_of_its_utterances(conditional, corpus):
    scores = bits_per_sample(speaker_model(), corpus)
    found = conditional.result["bits_per_sample"]
    assert list(found) == [*sorted(NAMES), "all"]
    each = [utterance_bits(speaker_model(), corpus.read(i), corpus.conditions(i)) for i in range(6)]
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


def test_every_speaker_has_sounds_and_the_page_matches_the_json(conditional, vocoded):
    for report, kind in ((conditional, "generated"), (vocoded, "resynthesised")):
        result, text = written(report)
        page, described = Page(text), result["models"][0]["sounds"]
        players = page.all("audio")
        assert [(s["speaker"], s["kind"]) for s in described] == [
            (name, k) for name in sorted(NAMES) for k in ("recording", kind)
        ]
        assert len(players) == len(page.all("img")) == len(page.all("figure")) == 6
        assert len({player["src"] for player in players}) == 6
        for player, sound in zip(players, described, strict=True):
            waveform, rate = decoded_audio(player["src"])
            assert (rate, len(waveform)) == (RATE, sound["samples"])
            assert sound | facts(waveform, rate) == sound
            assert player["aria-label"].endswith(f"{sound['speaker']}, {sound['seconds']:.2f} seconds")
            assert "controls" in player
        short = 2000 if kind == "resynthesised" else 2400  # a generated sound is not of the recording's length
        assert [s["samples"] for s in described if s["speaker"] == NAMES[2]] == [2000, short]


def test_sounds_are_the_recording_and_the_generation_of_the_seed(conditional, vocoded, corpus):
    for report, built, temperature in ((conditional, speaker_model(), 1.0), (vocoded, vocoder(), 0.8)):
        for number, speaker in enumerate(sorted(NAMES)):
            recording, generated = (sound for sound in report.sounds if sound.speaker == speaker)
            index = [utterance.id for utterance in corpus.utterances].index(recording.utterance)
            torch.testing.assert_close(recording.decoded(), corpus.read(index)[:2400], rtol=0, atol=2 / 2**15)
            assert generated.seed == 5 + number and generated.utterance == recording.utterance
            length = 2400 if generated.kind == "generated" else min(6400, len(corpus.read(index)))
            conditions = report.corpus.conditions(index, 0, length)
            alone = make(built, [length], [conditions], generated.seed, temperature=temperature)[0]
            torch.testing.assert_close(generated.decoded(), alone[:2400], rtol=0, atol=2 / 2**15)


def test_resynthesis_is_measured_by_speaker(vocoded, corpus):
    found = vocoded.result["resynthesis"]
    assert (found["utterances"], found["held_out_utterances"]) == (5, 6)
    assert found["seconds"] == pytest.approx(4 * 0.8 + 0.25) and found["temperature"] == 0.8
    assert found["pesq"] == {"sample_rate": 8000, "mode": "nb"}
    first = next(one for one in found["each"] if one["utterance"] == "1-a<b>")
    index = 3
    seed = 5 + sorted(NAMES).index("june")
    conditions = vocoded.corpus.conditions(index, 0, 6400)
    distances = similarity(
        make(vocoder(), [6400], [conditions], seed, temperature=0.8)[0], corpus.read(index, 0, 6400), RATE
    )
    for name in ("log_mel_distance", "mel_cepstral_distortion", "voicing_error"):
        assert first[name] == pytest.approx(getattr(distances, name), rel=1e-6)
    for name in ("log_mel_distance", "voicing_error"):
        values = [one[name] for one in found["each"]]
        every = found["by_speaker"]["all"][name]
        assert (every["value"], every["utterances"]) == (pytest.approx(math.fsum(values) / 5), 5)
        assert every["interval"] == pytest.approx(ratio_interval(values, [1] * 5))
    single = found["by_speaker"][NAMES[2]]
    assert single["log_mel_distance"]["utterances"] == 1 and single["log_mel_distance"]["interval"] is None
    assert single["pesq"]["value"] is None  # of a quarter of a second
    assert found["reasons"]["PESQ: shorter than 0.5 s"] == found["reasons"]["STOI: shorter than 0.5 s"] == 1


def test_without_the_extras_the_page_shows_what_to_install(corpus, monkeypatch):
    from wavenet.audio import Pitch

    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    monkeypatch.setattr(Pitch, "is_available", staticmethod(lambda: False))
    settings = replace(PLAN, utterances=1, sound_seconds=0, speed_seconds=0)
    with_features = add_features(replace(corpus, utterances=corpus.utterances[:1]), vocoder().features, progress=False)
    result, text = written(report_on_model("vocoder", vocoder(), with_features, settings))
    assert set(result["models"][0]["resynthesis"]["reasons"]) == {
        f"PESQ needs {install_command('report')}",
        f"STOI needs {install_command('report')}",
        f"F0 and voicing need {install_command('pitch')}",
    }
    page = Page(text)
    assert f"Not available for 1 of 1: PESQ needs {install_command('report')}." in page.text
    assert page.all("audio") == [] and "Sounds" not in page.words
    assert result["models"][0]["sounds"] == [] and result["models"][0]["speed"] is None


def test_nothing_from_data_is_markup_and_nothing_is_fetched(conditional, vocoded):
    text = written(conditional, vocoded, comparison=compare([conditional, vocoded]))[1]
    page = Page(text)
    assert page.all("script") == [] and page.all("b") == []
    assert NAMES[0] in page.words  # its name, as text
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
    drawings = [each for each in page.all("svg") if each.get("aria-hidden") != "true"]
    drawings += [each for each in page.all("div") if each.get("class") == "chart"]
    for drawing in drawings:
        assert drawing["role"] == "img" and drawing["aria-label"]
    assert page.all("html") == [{"lang": "en"}]


def test_models_are_compared_on_the_same_utterances(conditional, vocoded):
    comparison = compare([conditional, vocoded])
    assert comparison["same_utterances"] and comparison["reason"] == ""
    (difference,) = comparison["differences"]
    assert (difference["of"], difference["minus"]) == ("vocoder", "conditional")
    bits = [
        b.bits + b.log2_levels - a.bits - a.log2_levels for a, b in zip(conditional.scores, vocoded.scores, strict=True)
    ]
    samples = [a.samples for a in conditional.scores]
    every = difference["by_speaker"]["all"]
    assert every["value"] == pytest.approx(sum(bits) / sum(samples))
    assert every["interval"] == pytest.approx(ratio_interval(bits, samples))
    separate = [each.result["bits_per_sample"]["all"]["as_16_bit"] for each in (conditional, vocoded)]
    assert every["value"] == pytest.approx(separate[1] - separate[0])
    assert difference["by_speaker"][NAMES[2]]["interval"] is None

    page = Page(written(conditional, vocoded, comparison=comparison)[1])
    assert len(page.all("audio")) == 9  # each recording once, and the audio of both models
    assert page.text.count("vocoder minus conditional") == 1
    third = replace(vocoded, name="third", result=vocoded.result | {"name": "third"})
    three = Page(written(conditional, vocoded, third, comparison=compare([conditional, vocoded, third]))[1])
    assert "conditional, vocoder and third" in three.words
    for speaker in NAMES:
        of = {
            s.seed
            for each in (conditional, vocoded)
            for s in each.sounds
            if s.speaker == speaker and s.seed is not None
        }
        assert len(of) == 1


def test_figures_that_are_not_comparable_are_labelled(conditional, vocoded, corpus):
    fewer = replace(conditional, name="fewer", corpus=replace(corpus, utterances=corpus.utterances[1:]))
    other = replace(conditional, corpus=replace(corpus, name="music"))
    faster = replace(conditional, corpus=replace(corpus, sample_rate=16000))
    for report, reason in (
        (
            fewer,
            "conditional has 6 held-out utterances and fewer 5, of which 5 are the same; dataset=NAME uses the same",
        ),
        (other, "the datasets differ: speech, music; dataset=NAME"),
        (faster, "the sample rates differ: 8000, 16000 Hz"),
    ):
        comparison = compare([conditional, report])
        assert not comparison["same_utterances"] and comparison["differences"] == []
        assert comparison["reason"].startswith(reason)
    page = Page(written(conditional, fewer, comparison=compare([conditional, fewer]))[1])
    assert f"These figures are not comparable: {compare([conditional, fewer])['reason']}." in page.text
    assert len(page.all("audio")) == 12  # no recording is shared


def test_bits_per_byte_are_computed_or_a_reason_is_given(corpus):
    settings = ReportSettings(clips=Clips(0.25), **BITS_ONLY)
    counted = report_on_model("counted", speaker_model(), corpus, settings).result["bits_per_byte"]
    assert counted["by_speaker"]["all"]["samples"] == sum(u.num_samples for u in corpus.utterances)
    assert 6 < counted["by_speaker"]["all"]["value"] < 10
    assert counted["by_speaker"][NAMES[2]]["interval"] is None
    long = report_on_model("long", speaker_model(), corpus, replace(settings, clips=Clips(5, drop_rest=True)))
    assert long.result["bits_per_byte"]["reason"] == "no utterance is as long as a clip of 5 s"
    with_features = add_features(corpus, vocoder().features, progress=False)
    featured = report_on_model("conditions", vocoder(), with_features, settings)
    assert featured.result["bits_per_byte"]["reason"].startswith("the model is conditioned on mel of each recording")
    page = Page(written(long, featured)[1])
    assert "long: not available: no utterance is as long" in page.text
    assert not any("as published" in words for words in page.words)


def test_published_figures_are_shown_beside_comparable_figures_only(corpus, conditional):
    def shown(**changes):
        settings = ReportSettings(clips=Clips(1), **BITS_ONLY)
        short = replace(corpus, name="speechcommands", sample_rate=16000, utterances=corpus.utterances[:2])
        found = report_on_model("m", model(rate=16000), short, settings)
        found.result.update({k: v for k, v in changes.items() if k != "how"})
        found.result["bits_per_byte"].update(changes.get("how", {}))
        return "WaveNet, as published for the test set" in Page(written(found)[1]).words

    assert shown()
    assert not shown(dataset="music")
    assert not shown(conditions=["speaker"])
    assert not shown(sample_rate=8000)
    assert not shown(how={"stretch": False})


def test_speed_is_measured_and_its_setup_reported(conditional):
    found = conditional.result["speed"]
    assert found["times_real_time"] == pytest.approx(found["samples_per_second"] / RATE)
    assert found["real_time_factor"] * found["times_real_time"] == pytest.approx(1)
    assert (found["seconds"], found["threads"], found["utterances"]) == (0.05, 1, 1)
    assert found["backend"] == "cpu" and "torch" in found["machine"]


def test_narrower_weights_without_their_backend(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "wavenet.native.instructions", None)
    settings = ReportSettings(sound_seconds=0, speed_seconds=0.01, weights="int8", long_term_utterances=0)
    found = report_on_model("m", speaker_model(), replace(corpus, utterances=corpus.utterances[5:]), settings)
    assert found.result["speed"]["reason"].startswith(
        "weights=int8 needs the cpu backend, which is not available: numba"
    )
    assert "which is not available" in Page(written(found)[1]).text


def test_speakers_can_be_limited_and_a_model_may_have_no_conditions(corpus):
    found = report_on_model("m", model(), corpus, replace(PLAN, max_speakers=1, speed_seconds=0))
    assert [(s.speaker, s.conditions) for s in found.sounds] == [(NAMES[0], ""), (NAMES[0], "none")]
    unnamed = replace(corpus, utterances=[replace(u, conditions={}) for u in corpus.utterances])
    found = report_on_model("m", model(distribution=LogisticMixture(2)), unnamed, replace(PLAN, speed_seconds=0))
    assert {s.speaker for s in found.sounds} == {"unknown"}
    page = Page(written(found)[1])
    assert "mixture of 2 logistics over 16-bit samples" in page.words and "LogisticMixture" not in page.text


def test_the_page_names_distributions_as_people_do(conditional):
    result, text = written(conditional)
    assert result["models"][0]["distribution"] == "MuLawCategorical"
    assert "256 mu-law classes" in Page(text).words and "MuLawCategorical" not in text


def test_percentages_on_the_page_have_a_space(vocoded):
    words = Page(re.sub(r"<style>.*?</style>", "", written(vocoded)[1], flags=re.DOTALL)).text
    assert "Intervals are 95 % confidence intervals" in words and not re.search(r"\d%", words)


def test_a_speaker_named_all_is_not_the_total(corpus):
    named_all = [replace(u, conditions={"speaker": "all"}) for u in corpus.utterances[:2]]
    whole = replace(corpus, utterances=[*named_all, *corpus.utterances[3:5]])
    found = report_on_model("m", model(), whole, replace(PLAN, speed_seconds=0))
    bits = found.result["bits_per_sample"]
    assert {name: each["utterances"] for name, each in bits.items()} == {"june": 2, "speaker all": 2, "all": 4}
    assert bits["all"]["samples"] == bits["june"]["samples"] + bits["speaker all"]["samples"]
    assert bits_per_sample(model(), whole)["all"].samples == bits["all"]["samples"]
    assert [sound.speaker for sound in found.sounds] == ["june", "june", "speaker all", "speaker all"]


def test_the_shortest_sounds_and_the_lowest_rate(corpus):
    """Sounds of a single sample, at 1 kHz: no error."""
    low = replace(corpus, sample_rate=1000, utterances=corpus.utterances[4:])
    shortest = ReportSettings(sound_seconds=1e-9, utterances=1, utterance_seconds=1e-9, speed_seconds=1e-9, seed=2**62)
    built = model(small_mel(1000), rate=1000)
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
    assert found["flags"] == ["clipping"]
    assert found["clipped_samples"] == int((loud.abs() == 1).sum())


def test_flags_are_shown(conditional):
    sounds = [replace(s, facts=s.facts | {"flags": ["near silence"]}) for s in conditional.sounds[:1]]
    page = Page(written(replace(conditional, sounds=sounds))[1])
    assert "near silence" in page.words


def test_progress_ends_at_its_total(corpus):
    with_features = add_features(corpus, vocoder().features, progress=False)
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

    report_on_model("m", vocoder(), with_features, PLAN, progress=Bar)
    measured = {f"measuring {what}" for what in ("generated audio", "the resynthesis", "the speed")}
    assert set(ended) == {"scoring", "generating sounds", *measured}
    assert all(done == total > 0 for done, total in ended.values())


def test_nan_and_infinity_are_null():
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
    page, logged, requested = context.new_page(), [], []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("request", lambda request: requested.append(request.url.split(":")[0]))
    page.goto("file://" + sys.argv[2])
    page.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)")
    print(json.dumps({
        "logged": logged, "requested": sorted(set(requested)), "title": page.title(),
        "seconds": page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)"),
        "drawn": page.evaluate("[...document.querySelectorAll('img')].map(i => i.naturalWidth)"),
        "wide": page.evaluate("document.documentElement.scrollWidth"),
        "paper": page.evaluate("getComputedStyle(document.body).backgroundColor"),
        "margins": page.evaluate(sys.argv[5]), "tables": page.evaluate(sys.argv[6]),
    }))
    browser.close()
"""


MARGINS = """[...document.querySelectorAll("main table, main .chart, main .cards")].map((each) => {
    const [own, box] = [each, each.parentElement].map((element) => element.getBoundingClientRect());
    return [own.left, innerWidth - Math.min(own.right, box.right)];
})"""
TABLES = """[...document.querySelectorAll(".scroll")].map((box) => {
    const wider = box.scrollWidth > box.clientWidth;
    box.scrollLeft = box.scrollWidth;
    const first = box.querySelector("tbody th"), last = first.parentElement.lastElementChild;
    const [outer, begin, end] = [box, first, last].map((each) => each.getBoundingClientRect());
    return {wider, left: outer.left, right: innerWidth - outer.right,
            shown: Math.abs(begin.left - outer.left) < 1 && end.right < outer.right + 1};
})"""


def renamed(report, old, new):
    """The same report, with another name for a speaker."""
    result = json.loads(json.dumps(finite(report.result)).replace(json.dumps(old), json.dumps(new)))
    sounds = [replace(sound, speaker=new if sound.speaker == old else sound.speaker) for sound in report.sounds]
    return replace(report, result=result, sounds=sounds)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="Playwright is not installed")
def test_a_browser_shows_and_plays_it(conditional, vocoded, tmp_path):
    reports = [renamed(each, "june", "june" * 30) for each in (conditional, vocoded)]
    result, text = written(*reports, comparison=compare([conditional, vocoded]))
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    papers = set()
    for scheme, width in (("light", 1600), ("dark", 390)):
        command = [sys.executable, "-c", BROWSER, CHROMIUM, tmp_path / "report.html", scheme, str(width)]
        command += [MARGINS, TABLES]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        seen = json.loads(ended.stdout)
        assert seen["logged"] == [] and set(seen["requested"]) <= {"file", "data"}
        assert seen["title"] == "wavenet: conditional and vocoder"
        generated = [s for s in result["models"][1]["sounds"] if s["kind"] != "recording"]
        expected = sorted(s["seconds"] for s in result["models"][0]["sounds"] + generated)
        assert sorted(seen["seconds"]) == pytest.approx(expected, abs=1e-3)
        assert all(pixels > 10 for pixels in seen["drawn"])
        assert seen["wide"] == width  # no horizontal overflow
        papers.add(seen["paper"])
        assert all(each["shown"] and each["left"] == each["right"] >= 16 for each in seen["tables"])  # once scrolled
        assert any(each["wider"] for each in seen["tables"])
        if width == 1600:
            assert all(left == pytest.approx(right, abs=1) for left, right in seen["margins"])
            assert min(left for left, _ in seen["margins"]) > 300
    assert len(papers) == 2
