"""The models of the package: found by their names, and each of them speaks as its card says."""

import json
import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import wavenet
from tests.configured import build_model
from tests.conftest import PROMPTS, ROOT, duration
from wavenet.audio import read
from wavenet.checkpoint import CheckpointError, describe, find, packaged_models
from wavenet.data import add_features, prepare, split
from wavenet.data.prompts import Prompts
from wavenet.evaluation import score_each
from wavenet.report import ReportSettings, report_on_model

MODELS = packaged_models()
SPEAKERS = ["allison", "carlo", "ivrvoice", "june"]
LIMIT = 5_000_000  # bytes of a model's folder
RECORDING = PROMPTS / "june" / "june_001.flac"
NAMED = f"model.conditioners.speaker.categories=[{','.join(SPEAKERS)}]"


@pytest.fixture(scope="module")
def some_models(tmp_path_factory):
    """Small models that nobody trained, under the names of the package's."""
    folder = tmp_path_factory.mktemp("package") / "models"
    babble, vocoder = build_model(NAMED).eval(), build_model("model/conditioners=[mel]").eval()
    babble.metadata = {"data": {"name": "prompts"}}
    vocoder.metadata = {"data": {"name": "my own"}}
    wavenet.save(babble, folder / "babble")
    wavenet.save(vocoder, folder / "vocoder")
    (folder / "README.md").write_text("# The models\n")
    return folder


@pytest.fixture
def package(some_models, in_tmp, monkeypatch):
    """The folder of small models in place of the package's; the test runs in an empty folder."""
    monkeypatch.setattr("wavenet.checkpoint.packaged.package_folder", lambda name: some_models)
    return some_models


def refused(run, *command):
    with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
        run(*command)
    (line,) = [line for line in str(error.value).splitlines()[1:] if line]
    return line


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(model, other):
    theirs = other.state_dict()
    return describe(model) == describe(other) and all(torch.equal(t, theirs[n]) for n, t in model.state_dict().items())


def test_a_bare_name_is_that_of_a_model_of_the_package(package):
    assert packaged_models() == {"babble": package / "babble", "vocoder": package / "vocoder"}
    for name in ("babble", Path("vocoder")):
        assert find(name) == package / name
        assert same(wavenet.load(name), wavenet.load(package / name))
    audio = wavenet.generate(wavenet.load("babble"), 0.02, speaker="june", seed=1)
    chunks = list(wavenet.stream(wavenet.load("babble"), 0.02, speaker="june", seed=1, chunk=50))
    assert audio.shape == (1, 160) and torch.equal(torch.cat(chunks, dim=1), audio)
    with pytest.raises(CheckpointError, match="revision=main is for a repository on the Hub"):
        wavenet.load("babble", revision="main")


def test_what_lies_here_goes_before(package, in_tmp, small):
    mine = small(("ann",))
    wavenet.save(mine, "babble")
    assert same(wavenet.load("babble"), mine)
    (in_tmp / "vocoder").mkdir()
    with pytest.raises(
        CheckpointError, match=r"^vocoder: holds neither .*; it goes before the package's .*: rename it$"
    ):
        wavenet.load("vocoder")
    (in_tmp / "other").mkdir()
    with pytest.raises(CheckpointError, match=r"best\.ckpt or last\.ckpt$"):
        wavenet.load("other")


def test_an_unknown_name_is_refused_with_those_that_there_are(package, monkeypatch):
    known = r"give a run's folder, a \.ckpt file, a model of the package \(babble, vocoder\) or a saved model$"
    with pytest.raises(CheckpointError, match=rf"^june: no such checkpoint; {known}"):
        wavenet.load("june")
    for name, meant in {"babbel": "babble", "vocodr": "vocoder", "Babble": "babble"}.items():
        with pytest.raises(CheckpointError, match=rf"^{name}: no such checkpoint; did you mean {meant}\? Else {known}"):
            wavenet.load(name)
    for path in ("a/b/babble", "../babble", "babble.ckpt", package / "june"):
        with pytest.raises(
            CheckpointError, match=r"no such checkpoint; give a run's folder, a \.ckpt file or a saved mo"
        ):
            wavenet.load(path)
    monkeypatch.setattr("wavenet.checkpoint.packaged.package_folder", lambda name: package / "nothing")
    with pytest.raises(
        CheckpointError, match=r"^babble: no such checkpoint; give a run's folder, a \.ckpt file or a s"
    ):
        wavenet.load("babble")


def test_generate_takes_babble_and_says_so(package, run, in_tmp, small):
    said = "checkpoint=babble, of the package (none was given; the package has babble, vocoder)"
    assert said in run("generate", "seconds=0.02", "speaker=carlo", "seed=3")
    expected = wavenet.generate(wavenet.load(package / "babble"), 0.02, speaker="carlo", seed=3)
    torch.testing.assert_close(read("out.wav")[0], expected[0], rtol=0, atol=1 / 32767)
    assert "none was given" not in run("generate", "checkpoint=babble", "seconds=0.02", "speaker=carlo")
    wavenet.save(small(("ann",)), "babble")
    output = run("generate", "seconds=0.02")
    assert "checkpoint=babble, what lies here under that name (none was given;" in output and "2000 Hz" in output


def test_without_a_mel_the_vocoder_is_named(package, run, in_tmp, monkeypatch):
    np.save("mel.npy", np.zeros((64, 5), np.float32))
    for given in ("mel=mel.npy", f"mel_from={RECORDING}", "mel_from=nowhere.wav"):
        expected = f"wavenet generate: {given}: babble takes no mel spectrogram; checkpoint=vocoder does"
        assert refused(run, "generate", given) == expected
    run("generate", "checkpoint=vocoder", f"mel_from={RECORDING}", "output=a.wav")
    assert duration(in_tmp / "a.wav") == pytest.approx(duration(RECORDING), abs=1 / 8000)
    run("generate", "checkpoint=vocoder", "mel=mel.npy", "output=b.wav")
    assert duration(in_tmp / "b.wav") == 5 * 64 / 8000
    monkeypatch.setattr("wavenet.cli.generate.packaged_models", lambda: {"babble": package / "babble"})
    assert refused(run, "generate", "mel=mel.npy").endswith("; experiment=vocoder trains one that does")


@pytest.mark.parametrize("named", [False, True])
def test_demo_takes_babble_and_says_so(package, run, monkeypatch, named):
    served = []

    class Server:
        def __init__(self, service, ready):
            served.append(service._model)
            self.run = lambda listeners: ready()

    monkeypatch.setattr("wavenet.demo.server.server_for", Server)
    output = run("demo", "port=0", *["checkpoint=vocoder"] * named)
    assert f"serves the page for {'vocoder' if named else 'babble'}; Ctrl-C" in output
    assert ("checkpoint=babble, of the package (none was given" in output) != named
    assert same(served[0], wavenet.load("vocoder" if named else "babble"))


def test_a_model_of_the_package_is_evaluated_and_its_folder_left_alone(package, run, in_tmp, speech):
    before = contents(package)
    line = refused(run, "evaluate", "checkpoint=babble")
    assert line.startswith(
        f"wavenet evaluate: {package / 'babble' / 'config.yaml'} does not exist, so the run's dataset"
    )
    assert line.endswith("; give dataset=prompts, on which the model was trained, or another")
    assert refused(run, "evaluate", "checkpoint=vocoder").endswith("; give dataset=NAME")
    dataset = [
        "dataset=folder",
        f"dataset.root={speech}",
        "dataset.speakers_from_folders=true",
        "long_term.utterances=0",
    ]
    dataset += ["sounds.seconds=0", "speed.seconds=0", "resynthesis.utterances=0"]
    for name, place in {"babble": "babble", "vocoder": package / "vocoder"}.items():
        assert "written to evaluation.json" in run("evaluate", f"checkpoint={place}", *dataset)
        report = json.loads((in_tmp / "evaluation.json").read_text())
        assert report["name"] == name and report["bits_per_sample"]["all"]["utterances"] == 3
        assert (in_tmp / "evaluation.html").is_file()
    run("evaluate", "checkpoint=[babble,vocoder]", *dataset, "validation_fraction=1")
    models = json.loads((in_tmp / "comparison.json").read_text())["models"]
    assert [each["name"] for each in models] == ["babble", "vocoder"]
    assert models[0]["bits_per_sample"]["all"]["utterances"] == 12
    assert contents(package) == before


def test_a_model_of_the_package_is_exported(package, run, in_tmp):
    assert "model.json" in run("export_onnx", "checkpoint=babble")
    description = json.loads((in_tmp / "onnx" / "model.json").read_text())
    assert description["conditions"]["speaker"]["categories"] == SPEAKERS


def test_the_wheel_and_the_source_archive_have_the_packages_folders():
    """What `package_folder` looks for as share/NAME is put there, and is not left out of the source archive."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    sources = "\n".join(path.read_text() for path in (ROOT / "wavenet").rglob("*.py"))
    folders = set(re.findall(r'package_folder\("([\w/]+)"\)', sources)) | {"data/models"}
    assert folders == {"configs", "data/prompts", "data/models"}
    for name in folders:
        assert settings["wheel"]["sources"][name] == f"wavenet/share/{Path(name).name}"
        assert name in settings["wheel"]["only-include"] and f"/{name}" in settings["sdist"]["include"]
        assert (ROOT / name).is_dir()


def test_an_installed_packages_folder_goes_before_that_of_a_checkout(tmp_path, monkeypatch):
    from wavenet import package_data

    monkeypatch.setattr(package_data, "_PACKAGE", tmp_path / "wavenet")
    assert package_data.package_folder("data/models") == tmp_path / "data" / "models"
    (tmp_path / "wavenet" / "share" / "models").mkdir(parents=True)
    assert package_data.package_folder("data/models") == tmp_path / "wavenet" / "share" / "models"


def requests(model):
    """Conditions of two utterances that should differ, 0.2 s each: two speakers, or pieces of two recordings."""
    if "speaker" in model.conditioners:
        first, *_, last = model.conditioners["speaker"].categories
        return [{"speaker": first}, {"speaker": last}]
    found = []
    for path in (RECORDING, PROMPTS / "carlo" / "carlo_002.flac"):
        recording, _ = read(path, model.sample_rate)
        middle = recording[len(recording) // 2 :][: round(0.2 * model.sample_rate)]
        found.append({features.name: features.extract(middle) for features in model.features})
    return found


def level(waveform):
    """Level in dBFS."""
    return 10 * math.log10(waveform.square().mean().item() + 1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_it_speaks(in_tmp, name):
    """A few pieces of 0.2 s: one may be a pause."""
    model = wavenet.load(name)
    made = []
    for conditions in requests(model):
        audio = wavenet.generate(model, 0.2, num=4, conditions=conditions, seed=0)
        assert audio.shape == (4, round(0.2 * model.sample_rate)) and audio.isfinite().all()
        assert audio.abs().max() <= 1 and (audio.abs() > 0.98).float().mean() < 0.01
        assert -40 < level(audio) < -8, level(audio)  # the recordings: -17 dBFS
        assert audio.unique().numel() > 50  # of 256
        made.append(audio)
    assert not torch.equal(*made) and not torch.equal(made[0][0], made[0][1])
    assert torch.equal(wavenet.generate(model, 0.2, num=4, conditions=requests(model)[0], seed=0), made[0])


@pytest.mark.parametrize("name", MODELS)
def test_its_folder_is_small_and_its_card_states_the_licences_and_the_scores(name):
    folder, model = MODELS[name], wavenet.load(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LIMIT
    assert {path.name for path in folder.iterdir()} - {"unheard.json"} == {
        "README.md", "config.json", "evaluation.json", "model.safetensors",
    }  # fmt: skip
    text, metadata = (folder / "README.md").read_text(encoding="utf-8"), model.metadata or {}
    assert f'wavenet.load("{name}")' in text and "fill this in" not in text
    licences = metadata["data"]["licences"]
    assert licences and "unknown" not in {licence["name"] for licence in licences}
    assert all(f"- {licence['name']}: " in text for licence in licences)
    scores = metadata["evaluation"]["scores"]
    assert f"**{scores['all']['bits_per_sample']:.4f} bits per sample** on held-out utterances" in text
    assert metadata["command"].startswith(f"python scripts/package_model.py {name}") and "Measured on: " in text
    written = json.loads((folder / "evaluation.json").read_text())
    assert {speaker: score["value"] for speaker, score in written["bits_per_sample"].items()} == {
        speaker: score["bits_per_sample"] for speaker, score in scores.items()
    }
    assert list(model.conditioners) == ["mel"] or name != "vocoder"  # it takes any speaker
    assert bool(model.features) == ("Log-mel distance, dB" in text) == ("PESQ" in text)
    assert (folder / "unheard.json").is_file() == ("Speakers never heard in training" in text)
    for path in (*folder.glob("*.json"), folder / "README.md"):
        assert not re.search(r'["=\s]/\w', path.read_text(encoding="utf-8")), f"{path} names a folder"


def on_prompts(name):
    """The report on the package's recordings that lies beside a model, and the corpus that it is about."""
    model = wavenet.load(name)
    for file in ("evaluation.json", "unheard.json"):
        path = MODELS[name] / file
        report = json.loads(path.read_text()) if path.is_file() else {}
        if report.get("dataset") == "prompts":
            return model, report, 0.1 if file == "evaluation.json" else 1
    raise AssertionError(f"{name} was not measured on the package's recordings; give unheard=prompts")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_its_scores_are_those_of_its_card(in_tmp, name):
    """Bits of all held-out recordings, or of one unheard speaker; of a vocoder also a resynthesis."""
    model, report, fraction = on_prompts(name)
    written = report["bits_per_sample"]
    least = min(SPEAKERS, key=lambda speaker: written[speaker]["samples"])
    speakers = SPEAKERS if fraction < 1 else [least]
    corpus = split(prepare(Prompts(), model.sample_rate, "cache"), fraction)[1]
    some = [each for each in corpus.utterances if each.conditions["speaker"] in speakers]
    corpus = add_features(replace(corpus, utterances=some), model.features)
    scores = score_each(model, corpus)
    for speaker in speakers:
        own = [
            score
            for score, each in zip(scores, corpus.utterances, strict=True)
            if each.conditions["speaker"] == speaker
        ]
        assert sum(score.samples for score in own) == written[speaker]["samples"]
        bits = sum(score.bits for score in own) / written[speaker]["samples"]
        assert bits == pytest.approx(written[speaker]["value"], abs=2e-4), speaker
    if model.features:
        measured = report["resynthesis"]["each"]
        number = next(k for k, each in enumerate(measured) if each["speaker"] == least)  # its seed
        one = [each for each in corpus.utterances if each.id == measured[number]["utterance"]]
        settings = ReportSettings(
            number,
            sound_seconds=0,
            utterances=1,
            utterance_temperature=report["resynthesis"]["temperature"],
            long_term_utterances=0,
            speed_seconds=0,
        )
        (again,) = report_on_model(name, model, replace(corpus, utterances=one), settings).result["resynthesis"]["each"]
        for measure in ("log_mel_distance", "mel_cepstral_distortion", "stoi"):
            # where rounding decides a draw, all that follows is another, equally good one
            assert again[measure] == pytest.approx(measured[number][measure], rel=0.05), measure


def test_the_vocoder_reaches_its_targets():
    """On held-out recordings; the test above measures one of them again."""
    _, report, _ = on_prompts("vocoder")
    found = report["resynthesis"]["by_speaker"]["all"]
    assert found["pesq"]["value"] >= 2.5
    assert found["stoi"]["value"] >= 0.9


def test_babble_is_there_and_knows_the_speakers_of_the_packages_recordings():
    model = wavenet.load("babble")
    assert list(model.conditioners) == ["speaker"]
    assert model.conditioners["speaker"].categories == SPEAKERS
    assert model.metadata["data"]["name"] == "prompts"
