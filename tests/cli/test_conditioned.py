"""Conditioned models with the commands `train`, `evaluate` and `generate`, on real speech."""

import json
import re

import numpy as np
import pytest
import soundfile
import torch

import wavenet
from tests.cli.test_configs import FEATURES, some_prompts
from tests.configured import choices
from tests.conftest import PROMPTS, TINY
from wavenet.audio import read, write

RECORDING = PROMPTS / "june" / "june_001.flac"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return some_prompts(tmp_path_factory.mktemp("prompts"))


@pytest.fixture
def cached(tmp_path_factory, monkeypatch):
    """Share one cache between all these tests, as the features are the same."""
    monkeypatch.setenv("WAVENET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def train(run, in_tmp, cached, prompts):
    """Return a function that trains a tiny model for two steps in `r`, and returns the output."""

    def call(*overrides):
        settings = [*TINY, "dataset=folder", f"dataset.root={prompts}", "run_dir=r", "logger=none", *overrides]
        output = run("train", *settings)
        assert "done     2 steps" in output
        return output

    return call


def excerpt(path, start=0.0, seconds=0.25):
    """Write an excerpt of a recording at 8 kHz to a file; return its path."""
    waveform, rate = read(RECORDING, 8000)
    write(path, waveform[int(start * rate) :][: int(seconds * rate)], rate)
    return path


def refused(run, *overrides):
    with pytest.raises(AssertionError, match="exit 2") as error:
        run("generate", "checkpoint=r", *overrides)
    assert "Traceback" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("distribution", choices("model/distribution"))
def test_a_vocoder_resynthesises_a_recording(train, run, in_tmp, distribution):
    output = train("experiment=vocoder", "model.condition_channels=4", f"model/distribution={distribution}")
    assert "given    mel" in output
    assert "generate.py checkpoint=r mel_from=RECORDING\n" in output
    recording = excerpt("a.wav", seconds=0.2501)  # not a whole number of frames
    run("generate", "checkpoint=r", f"mel_from={recording}")
    generated, real = (soundfile.read(path, dtype="int16")[0] for path in ("out.wav", recording))
    assert len(generated) == len(real) == 2000
    run("generate", "checkpoint=r", f"mel_from={excerpt('b.wav', start=0.5)}", "output=other.wav")
    assert (in_tmp / "other.wav").read_bytes() != (in_tmp / "out.wav").read_bytes()
    run("evaluate", "checkpoint=r", "output=scores.json", "long_term.utterances=1")
    scores = json.loads((in_tmp / "scores.json").read_text())["bits_per_sample"]
    assert set(scores) == {"allison", "carlo", "ivrvoice", "june", "all"}
    assert 4 < scores["all"]["value"] < 30


def test_features_from_files_in_place_of_a_recording(train, run, in_tmp):
    train("model/conditioners=[mel]")
    recording = excerpt("a.wav")
    run("generate", "checkpoint=r", f"mel_from={recording}", "output=from.wav")
    model = wavenet.load("r")
    mel = model.features[0].extract(read(recording, 8000)[0]).numpy()
    np.save("mel.npy", mel)
    run("generate", "checkpoint=r", "mel=mel.npy")
    from_recording, from_file = read("from.wav")[0], read("out.wav")[0]
    assert len(from_file) == mel.shape[1] * 64  # whole frames
    assert torch.equal(from_recording, from_file[: len(from_recording)])
    run("generate", "checkpoint=r", "mel=mel.npy", "seconds=0.1", "output=shorter.wav")
    assert torch.equal(read("shorter.wav")[0], from_file[:800])
    run("generate", "checkpoint=r", "mel=mel.npy", f"prompt={excerpt('p.wav', seconds=0.1)}", "output=rest.wav")
    assert len(read("rest.wav")[0]) == len(from_file) - 800  # the features cover the prompt and the output

    np.save("turned.npy", mel.T)
    np.save("broken.npy", np.full_like(mel, np.nan))
    (in_tmp / "noise.npy").write_bytes(b"no array")
    with (in_tmp / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (64, 10**11)})
    for override, message in (
        (
            "mel=turned.npy",
            rf"turned.npy: the array is \({mel.shape[1]}, 64\); it must be \(64, frames\); transpose it",
        ),
        ("mel=huge.npy", "huge.npy: claims more numbers than fit into memory"),
        ("mel=broken.npy", "broken.npy: holds NaN or infinite numbers"),
        ("mel=noise.npy", "noise.npy: not readable as a .npy file"),
        ("mel=nowhere.npy", "nowhere.npy: no such file"),
        ("mel_from=nowhere.wav", "nowhere.wav: "),
        ("temperature=1", "the model needs mel: give mel_from=RECORDING"),
        ("conditions={mel: 5}", "5: no such file"),
    ):
        assert re.search(message, refused(run, override))
    text = refused(run, "mel=mel.npy", "seconds=9")
    assert f"the conditions cover {len(from_file)} samples, prompt included; 72000 were requested" in text


def test_unknown_conditions_are_refused(train, run, in_tmp):
    train("model/conditioners=[speaker]")
    np.save("mel.npy", np.zeros((64, 5), np.float32))
    for given in ("mel=mel.npy", f"mel_from={RECORDING}"):
        assert f"{given}: the model takes no mel spectrogram; " in refused(run, given)
    assert "not conditioned on language; it takes speaker" in refused(run, "conditions={language: it}")
    assert "guidance is 2, but the model always needs speaker" in refused(run, "guidance=2")
    assert "conditions is 'it'; it must be a dictionary, such as conditions={language: it}" in refused(
        run, "conditions=it"
    )


def test_names_from_the_columns_of_the_index(train, run, in_tmp):
    output = train("model/conditioners=[gender,language]")
    assert "given    gender, language" in output
    output = run("generate", "checkpoint=r", "seconds=0.02", "conditions={language: it-IT, gender: M}", "output=a.wav")
    assert "none was given" not in output
    output = run("generate", "checkpoint=r", "seconds=0.02", "conditions={language: it-IT}")
    assert "gender=F (none was given; the model has F, M)" in output
    model = wavenet.load("r")
    for path, gender in (("a.wav", "M"), ("out.wav", "F")):
        generated = wavenet.generate(model, 0.02, conditions={"language": "it-IT", "gender": gender})
        torch.testing.assert_close(read(path)[0], generated[0], rtol=0, atol=1 / 32767)
    run("generate", "checkpoint=r", "seconds=0.02", "num=2", "conditions={language: [fr-CA, it-IT], gender: F}")
    text = refused(run, "conditions={language: de}")
    assert "unknown language 'de'; choose from en-US, fr-CA, it-IT, ru-RU" in text


def test_names_that_look_like_numbers(train, run, in_tmp, prompts):
    """Speakers often have such names, which the command line parses as numbers."""
    for old, new in (("allison", "7"), ("carlo", "19"), ("ivrvoice", "84"), ("june", "121")):
        (in_tmp / "numbered" / new).mkdir(parents=True)
        for file in (prompts / old).glob("*.flac"):
            (in_tmp / "numbered" / new / file.name).write_bytes(file.read_bytes())
    train(f"dataset.root={in_tmp / 'numbered'}", "dataset.speakers_from_folders=true")
    run("generate", "checkpoint=r", "seconds=0.02", "speaker=84", "output=a.wav")
    run("generate", "checkpoint=r", "seconds=0.02", "conditions={speaker: 84}")
    assert (in_tmp / "a.wav").read_bytes() == (in_tmp / "out.wav").read_bytes()
    run("generate", "checkpoint=r", "seconds=0.02", "num=2", "speaker=[84,7]")
    assert (in_tmp / "a.wav").read_bytes() == (in_tmp / "out-0.wav").read_bytes()
    assert "unknown speaker '5'; choose from 121, 19, 7, 84" in refused(run, "speaker=5")


def test_speaker_mel_and_pitch_together_and_one_may_be_missing(train, run, in_tmp):
    output = train("model/conditioners=[speaker,mel,f0]", "model.conditioners.f0.dropout=0.5")
    assert "given    speaker, mel, f0" in output
    recording = excerpt("a.wav")
    output = run("generate", "checkpoint=r", f"mel_from={recording}", "speaker=june", "num=2", "threads=2")
    assert "generating (cpu)" in output
    model = wavenet.load("r")
    waveform = read(recording, 8000)[0]
    features = {each.name: each.extract(waveform) for each in model.features}
    for k in range(2):
        generated = wavenet.generate(model, 0.25, speaker="june", conditions=features, seed=k)
        torch.testing.assert_close(read(f"out-{k}.wav")[0], generated[0], rtol=0, atol=1 / 32767)
    np.save("mel.npy", features["mel"].numpy())
    run("generate", "checkpoint=r", "mel=mel.npy", "speaker=june", "output=no-pitch.wav")
    generated = wavenet.generate(model, None, speaker="june", conditions={"mel": features["mel"]})
    torch.testing.assert_close(read("no-pitch.wav")[0], generated[0], rtol=0, atol=1 / 32767)


def test_features_of_files_beside_the_recordings(train, run, in_tmp, prompts):
    train("model/conditioners=[file]", *FEATURES)
    name = "june/june_001"
    run("generate", "checkpoint=r", f"mel_from={prompts / name}.flac", "output=from.wav")
    run("generate", "checkpoint=r", "conditions={features: " + f"{prompts / name}.npy" + "}")
    from_recording, from_file = read("from.wav")[0], read("out.wav")[0]
    assert torch.equal(from_recording, from_file[: len(from_recording)])
    assert 0 <= len(from_file) - len(from_recording) < 8
    excerpt("alone.wav")
    assert "alone.features.npy: no such file with the features 'features'" in refused(run, "mel_from=alone.wav")


def test_both_receptive_fields_of_a_context_stack_are_printed(train, run, in_tmp):
    output = train("model/context=small", "model.context.dilation_cycle=2", "model/conditioners=none")
    # 4 taps of 64 samples, and the frame that they condition: (1 + 2 + 1 + 1) * 64
    assert "receptive field 326 samples (41 ms)" in output
    assert "context  the stack sees 8 samples (1 ms), the context stack 320 (40 ms)" in output
    output = run("generate", "checkpoint=r", "seconds=0.03")
    assert "generating (cpu)" in output
    generated = wavenet.generate(wavenet.load("r"), 0.03, backend="cpu")
    torch.testing.assert_close(read("out.wav")[0], generated[0], rtol=0, atol=1 / 32767)


def test_guidance_by_the_command(train, run, in_tmp):
    train("model.conditioners.speaker.dropout=0.3")
    output = run("generate", "checkpoint=r", "seconds=0.01", "speaker=june", "guidance=2")
    assert "generating with the slower backend 'reference', because cpu: it does not support guidance" in output
    generated = wavenet.generate(wavenet.load("r"), 0.01, speaker="june", guidance=2.0, backend="reference")
    torch.testing.assert_close(read("out.wav")[0], generated[0], rtol=0, atol=1 / 32767)
    assert "none was given" not in run("generate", "checkpoint=r", "seconds=0.01")  # it is optional
