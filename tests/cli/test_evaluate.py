"""`wavenet evaluate` on saved models and real speech: the files written, comparisons, and error messages."""

import errno
import json
import os
import sys

import pytest

import wavenet
from tests.configured import build_model
from tests.report.test_report import Page
from wavenet.extras import install_command

NAMES = ["allison", "carlo", "june"]
SHORT = ["sounds.seconds=0.1", "speed.seconds=0.02", "resynthesis.utterances=1", "resynthesis.seconds=0.6"]
SHORT += ["long_term.utterances=2", "long_term.seconds=0.2"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two models of 8 kHz, one of which is conditioned on mel spectrograms, and one of 2 kHz."""
    folder = tmp_path_factory.mktemp("saved")
    named = f"model.conditioners.speaker.categories=[{','.join(NAMES)}]"
    wavenet.save(build_model(named).eval(), folder / "plain")
    wavenet.save(build_model("model/conditioners=[mel]").eval(), folder / "vocoder")
    wavenet.save(build_model(named, "model.sample_rate=2000").eval(), folder / "slow")
    return folder


@pytest.fixture
def evaluate(run, in_tmp, speech, tmp_path_factory, monkeypatch):
    """Return a function that runs the command on the same recordings."""
    monkeypatch.setenv("WAVENET_CACHE", str(tmp_path_factory.getbasetemp() / "cache-of-evaluate"))
    dataset = ["dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true"]
    return lambda *overrides: run("evaluate", *dataset, *SHORT, *overrides)


def test_a_saved_models_report_lies_in_its_folder(evaluate, saved, in_tmp):
    output = evaluate(f"checkpoint={saved / 'plain'}", "validation_fraction=0.5", "seed=3")
    written = saved / "plain" / "evaluation.json"
    assert f"written to {written}" in output and f"written to {written.with_suffix('.html')}" in output
    result = json.loads(written.read_text())
    assert {"checkpoint", "dataset", "weights", "sample_rate", "bits_per_sample"} <= result.keys()
    assert (result["dataset"], result["weights"], result["sample_rate"], result["seed"]) == (
        "folder",
        "float32",
        8000,
        3,
    )
    for name in [*NAMES, "all"]:
        found = result["bits_per_sample"][name]
        assert {"value", "as_16_bit", "samples", "utterances"} <= found.keys()
        low, high = found["interval"]
        assert low < found["value"] < high
        assert f"{found['value']:>11.4f} {found['as_16_bit']:>9.4f}" in output and f"{low:.4f} to {high:.4f}" in output
    page = Page(written.with_suffix(".html").read_text())
    assert len(page.all("audio")) == len(result["sounds"]) == 6
    assert result["resynthesis"] is None and result["bits_per_byte"] is None
    assert sorted(os.listdir(saved / "plain")) == [
        "README.md", "config.json", "evaluation.html", "evaluation.json", "model.safetensors",
    ]  # fmt: skip
    assert os.listdir(in_tmp) == []


def test_two_models_side_by_side(evaluate, saved, in_tmp):
    output = evaluate(f"checkpoint=[{saved / 'plain'},{saved / 'vocoder'}]", "validation_fraction=0.5")
    assert sorted(os.listdir(in_tmp)) == ["comparison.html", "comparison.json"]
    result = json.loads((in_tmp / "comparison.json").read_text())
    plain, vocoder = result["models"]
    assert (plain["name"], vocoder["name"]) == ("plain", "vocoder")
    (difference,) = result["comparison"]["differences"]
    of = [each["bits_per_sample"]["all"]["as_16_bit"] for each in (plain, vocoder)]
    assert difference["by_speaker"]["all"]["value"] == pytest.approx(of[1] - of[0])
    assert f"vocoder minus plain, as 16-bit: {of[1] - of[0]:+.4f} (" in output
    for name in NAMES:
        seeds = {s["seed"] for each in (plain, vocoder) for s in each["sounds"] if s["speaker"] == name}
        assert len(seeds - {None}) == 1
        recordings = [s for each in (plain, vocoder) for s in each["sounds"] if s["speaker"] == name and not s["of"]]
        assert recordings[0] == recordings[1]
    assert vocoder["resynthesis"]["utterances"] == 3
    assert vocoder["resynthesis"]["by_speaker"]["all"]["log_mel_distance"]["value"] > 1
    page = Page((in_tmp / "comparison.html").read_text())
    assert len(page.all("audio")) == 9
    assert "plain and vocoder" in page.text


def test_models_of_two_rates_are_shown_and_not_compared(evaluate, saved, in_tmp):
    output = evaluate(f"checkpoint=[{saved / 'plain'},{saved / 'slow'}]", "output=o/c.json")
    assert "the figures are not comparable: the sample rates differ: 8000, 2000 Hz" in output
    result = json.loads((in_tmp / "o" / "c.json").read_text())
    assert result["comparison"]["differences"] == []
    page = Page((in_tmp / "o" / "c.html").read_text())
    assert "These figures are not comparable: the sample rates differ: 8000, 2000 Hz" in page.text
    assert len(page.all("audio")) == 12


def test_the_same_model_twice_has_two_names_and_no_difference(evaluate, saved, in_tmp):
    twice = f"checkpoint=[{saved / 'plain'},{saved / 'plain'}]"
    evaluate(twice, "weights=int8", "sounds.seconds=0", "speed.seconds=0")
    result = json.loads((in_tmp / "comparison.json").read_text())
    assert [each["name"] for each in result["models"]] == [str(saved / "plain")] * 2
    assert all(each["weights"] == "int8" and each["sounds"] == [] for each in result["models"])
    assert result["comparison"]["differences"][0]["by_speaker"]["all"]["value"] == 0


def test_bits_per_byte_are_counted_when_asked_for(evaluate, saved, in_tmp):
    quiet = ["sounds.seconds=0", "speed.seconds=0", "resynthesis.utterances=0", "output=x.json"]
    quiet.append("long_term.utterances=0")
    evaluate(f"checkpoint={saved / 'plain'}", *quiet, "bits_per_byte.clip_seconds=0.5")
    counted = json.loads((in_tmp / "x.json").read_text())["bits_per_byte"]
    assert set(counted["by_speaker"]) == {*NAMES, "all"}
    assert (counted["clip_seconds"], counted["quantization"], counted["stretch"]) == (0.5, "mu_law", True)
    evaluate(
        f"checkpoint={saved / 'plain'}", *quiet, "bits_per_byte.clip_seconds=0.5", "bits_per_byte.quantization=linear"
    )
    counted = json.loads((in_tmp / "x.json").read_text())["bits_per_byte"]
    assert "256 mu-law classes have no probability" in counted["reason"]


def test_temperatures_are_compared_and_the_best_is_named(evaluate, saved, in_tmp):
    quiet = ["sounds.seconds=0", "speed.seconds=0", "resynthesis.utterances=0"]
    output = evaluate(f"checkpoint={saved / 'plain'}", *quiet, "output=x.json", "temperatures=[0,0.5,1]")
    found = json.loads((in_tmp / "x.json").read_text())["long_term"]
    assert [row["temperature"] for row in found["distances"]] == [0, 0.5, 1]
    distances = {row["temperature"]: row["distance"] for row in found["distances"]}
    audible = {temperature: distance for temperature, distance in distances.items() if distance is not None}
    assert found["best"] == min(audible, key=lambda temperature: audible[temperature])
    assert f"audio at temperature {found['best']:g} is most like the recordings, by the mean distance" in output
    assert f"{1:>11g} {distances[1]:>12.2f}  " in output
    shown = next(row for row in found["temperatures"] if row["temperature"] == found["best"])
    for name in NAMES:
        row, own = shown["by_speaker"][name], found["recordings"][name]
        assert f"{row['level']:.1f} / {own['level']:.1f}" in output
        assert "; ".join(row["verdict"]) in output
    assert "noise: flatness" in output  # the weights are random
    assert "noise flatness" in Page((in_tmp / "x.html").read_text()).text


def test_without_pesq_and_stoi_the_rest_is_there(evaluate, saved, in_tmp, monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    output = evaluate(f"checkpoint={saved / 'vocoder'}", "output=x.json", "sounds.seconds=0", "speed.seconds=0")
    assert f"not available for 3 utterance(s): PESQ needs {install_command('report')}" in output
    found = json.loads((in_tmp / "x.json").read_text())["resynthesis"]["by_speaker"]["all"]
    assert found["pesq"]["value"] is None and found["mel_cepstral_distortion"]["value"] > 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["checkpoint=[PLAIN,nowhere]"], "nowhere: no such checkpoint"),
        (["checkpoint=[]"], "checkpoint is []; it must be a path"),
        (["checkpoint=PLAIN", "output=x.html"], "output is 'x.html'; name the JSON file, such as x.json"),
        (["checkpoint=PLAIN", "output=/dev/full"], "output is '/dev/full', which is no regular file; name one"),
        (["checkpoint=PLAIN", "output=x.HTM"], "output is 'x.HTM'; name the JSON file"),
        (["checkpoint=PLAIN", "bits_per_byte.quantization=a_law"], "it must be mu_law or linear"),
        (["checkpoint=PLAIN", "sounds.secnds=1"], "did you mean sounds.seconds?"),
        (["checkpoint=PLAIN", "temperatures=[]"], "temperatures is []; it must be "),
        (["checkpoint=PLAIN", "temperatures=[1,-1]"], "temperatures is [1, -1]; it must be "),
        (["checkpoint=PLAIN", "long_term.seconds=0"], "long_term.seconds is 0; it must be "),
        (["checkpoint=PLAIN", "confidence=1"], "confidence is 1; it must be a number above 0 and below 1"),
        (["checkpoint=[PLAIN,SLOW]", "sample_rate=8000"], "sample_rate is 8000, but the checkpoint supports 2000 Hz"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line_and_leave_nothing(evaluate, saved, in_tmp, overrides, message):
    known = {"PLAIN": str(saved / "plain"), "SLOW": str(saved / "slow")}
    for name, path in known.items():
        overrides = [each.replace(name, path) for each in overrides]
    with pytest.raises(AssertionError, match="exit 2") as error:
        evaluate(*overrides)
    assert message in str(error.value) and "Traceback" not in str(error.value)
    assert os.listdir(in_tmp) == []


def test_a_saved_model_has_no_dataset(run, saved, in_tmp):
    with pytest.raises(AssertionError, match="exit 2") as error:
        run("evaluate", f"checkpoint={saved / 'slow'}")
    assert (
        f"{saved / 'slow' / 'config.yaml'} does not exist, so the run's dataset is unknown; give dataset=NAME"
        in str(error.value)
    )


def test_an_output_that_cannot_be_written(evaluate, saved, in_tmp, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("wavenet.cli.evaluate.write_text", full)
    with pytest.raises(AssertionError, match="exit 2") as error:
        evaluate(f"checkpoint={saved / 'plain'}", "output=x.json", "sounds.seconds=0", "speed.seconds=0")
    assert "output is 'x.html', which cannot be written (No space left on device; delete" in str(error.value)
    assert os.listdir(in_tmp) == []


def test_an_output_that_cannot_be_written_is_refused_before_any_work(evaluate, saved, in_tmp, monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("the work begins")

    monkeypatch.setattr("wavenet.cli.evaluate.load", load)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("wavenet.cli.evaluate.tempfile.TemporaryFile", lambda **options: (_ for _ in ()).throw(full))
    with pytest.raises(AssertionError, match="exit 2") as error:
        evaluate(f"checkpoint={saved / 'plain'}", "output=new/x.json")
    assert "output is 'new/x.json', which cannot be written in" in str(error.value)
    assert os.listdir(in_tmp) == []
