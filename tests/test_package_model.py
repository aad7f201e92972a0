"""`scripts/package_model.py` trains, measures and saves a model of the package."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

import wavenet
from scripts.packaged_models import command
from tests.conftest import ROOT, TINY
from wavenet.checkpoint.card import card
from wavenet.extras import install_command

pytestmark = pytest.mark.slow

SCRIPT = [sys.executable, str(ROOT / "scripts" / "package_model.py")]
QUICK = ["evaluate.long_term.utterances=0", "evaluate.speed.seconds=0", "evaluate.sounds.seconds=0"]
ATTRIBUTION = "dataset.attribution=The speakers"


def call(*arguments):
    """Run the script as a process; return its exit code, and its last line."""
    ended = subprocess.run([*SCRIPT, *arguments], capture_output=True, text=True, timeout=250)
    return ended.returncode, (ended.stderr if ended.returncode else ended.stdout).strip().splitlines()[-1]


def own(speech, *speakers):
    """Copy these speakers' recordings to a folder here; return the settings to train on it."""
    for speaker in speakers:
        shutil.copytree(speech / speaker, f"own/{speaker}")
    return ["dataset=folder", "dataset.root=own", "dataset.speakers_from_folders=true", "dataset.licence=CC-BY-4.0"]


@pytest.fixture
def package(run, monkeypatch):
    """Return a function that runs the command in this process, with what the commands that it calls print."""

    def call(*arguments):
        printed = []
        monkeypatch.setattr(command, "_call", lambda name, *settings: printed.append(run(name, *settings)))
        GlobalHydra.instance().clear()
        command.main(arguments, "usage")
        return "".join(printed)

    return call


def test_babble_is_trained_measured_and_saved_by_one_command(in_tmp, speech):
    code, line = call("babble", *TINY, *QUICK, *own(speech, "june", "carlo"), ATTRIBUTION, "logger=none")
    assert (code, re.sub(r"[\d.]+ MB", "", line)) == (0, "written to data/models/babble: ")
    folder = in_tmp / "data" / "models" / "babble"
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "evaluation.json",
        "model.safetensors",
    }
    assert os.listdir(folder.parent) == ["babble"]
    model, text = wavenet.load(folder), (folder / "README.md").read_text()
    assert text == card(model, "babble")
    assert 'wavenet.load("babble")' in text and "- CC-BY-4.0: The speakers" in text and "pip install -e .  #" in text
    report = json.loads((folder / "evaluation.json").read_text())
    bits = {name: score["value"] for name, score in report["bits_per_sample"].items()}
    assert set(bits) == {"june", "carlo", "all"} and report["checkpoint"] == "babble"
    assert f"**{bits['all']:.4f} bits per sample**" in text and f"| june | {bits['june']:.4f} |" in text
    assert re.search(r"Measured on: processor .*, cores \d+, .*torch [\d.]+.*, date \d{4}-\d\d-\d\d\.", text)
    assert "python scripts/package\\_model.py babble model.residual\\_channels=8 " in text
    assert model.metadata["training"]["steps"] == 2 and "unheard" not in model.metadata["evaluation"]


def test_the_vocoder_is_measured_on_speakers_that_it_never_heard(package, in_tmp, speech):
    settings = [*TINY, *QUICK, "evaluate.resynthesis.utterances=1", "evaluate.resynthesis.seconds=0.6"]
    settings += ["evaluate.resynthesis.temperature=0.75"]
    data = [*own(speech, "june"), ATTRIBUTION, "logger=none"]
    with pytest.raises(
        SystemExit, match=r"package_model: unheard=.*: the model is trained on june, too; leave them out"
    ):
        package("vocoder", *settings, *data, f"unheard={speech}")
    assert not (in_tmp / "runs").exists()  # before any training
    output = package("vocoder", *settings, *data)
    assert "done     2 steps" in output
    first = wavenet.load("data/models/vocoder")
    assert "unheard" not in first.metadata["evaluation"]

    os.rename("own/june", "own/ann")  # so that june is one of those that it never heard
    again = package("vocoder", *settings[len(TINY) :], f"unheard={speech}")
    assert "steps" not in again  # the run is complete
    model = wavenet.load("data/models/vocoder")
    text = (in_tmp / "data" / "models" / "vocoder" / "README.md").read_text()
    held_out, new = model.metadata["evaluation"], model.metadata["evaluation"]["unheard"]
    assert set(held_out["scores"]) == {"ann", "all"} and set(new["scores"]) == {"allison", "carlo", "june", "all"}
    assert new["scores"]["all"]["utterances"] == 12 and new["resynthesis"]["utterances"] == 3
    assert "| | Held-out recordings | Speakers never heard in training |" in text
    assert "| Temperature | 0.75 | 0.75 |" in text and "temperature=0.75, seed=1)" in text
    for name, key, style in (
        ("Log-mel distance, dB", "log_mel_distance", ".2f"),
        ("PESQ, 1 to 4.6", "pesq", ".2f"),
        ("STOI, 0 to 1", "stoi", ".3f"),
    ):
        values = [f"{each['resynthesis']['measures'][key]:{style}}" for each in (held_out, new)]
        assert f"| {name} | {' | '.join(values)} |" in text
    assert f"unheard={speech.name}" in model.metadata["command"] and str(speech) not in text
    report = json.loads((in_tmp / "data" / "models" / "vocoder" / "unheard.json").read_text())
    assert report["resynthesis"]["by_speaker"]["all"]["stoi"]["value"] == new["resynthesis"]["measures"]["stoi"]


def test_what_cannot_be_packaged_is_refused_before_training(package, in_tmp, speech, monkeypatch):
    unlicensed = ["dataset=folder", f"dataset.root={speech}"]
    for arguments, message in (
        (["babel"], "babel: no such model; known are babble, vocoder"),
        ([], "usage"),
        (["babble", *TINY, *unlicensed], "the licence of some recordings is not known, and the model's card has to"),
        (["babble", *TINY, f"unheard={speech}"], f"unheard={speech}: babble is conditioned on speaker; only a model"),
        (["vocoder", *TINY, "unheard=nowhere"], "unheard=nowhere: no such folder; give one of recordings, or prompts"),
        (
            ["vocoder", *TINY, "unheard=prompts"],
            "unheard=prompts: the model is trained on allison, carlo, ivrvoice, june",
        ),
        (["babble", "model.residual_channels=800"], r"babble: [\d.]+ MB, more than the 5 MB of a model in the package"),
        (["babble", "lr=1"], "lr=1: there is no such setting; did you mean optimizer.lr"),
        (["babble", "batch_size=0"], "batch_size is 0; it must be"),
    ):
        with pytest.raises(SystemExit, match=rf"^package_model: {message}") as ended:
            package(*arguments)
        assert len(str(ended.value).splitlines()) == 1
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "pesq" else object())
    with pytest.raises(SystemExit, match=f"measuring needs pesq: {re.escape(install_command('report'))}"):
        package("vocoder", *TINY)
    assert os.listdir(in_tmp) == []


def test_nothing_half_written_stays(package, in_tmp, speech, monkeypatch):
    settings = [*TINY, *QUICK, *own(speech, "june"), "logger=none", "models=m"]
    package("babble", *settings)
    before = {path: path.read_bytes() for path in (in_tmp / "m" / "babble").iterdir()}
    monkeypatch.setattr(command, "LIMIT", sum(map(len, before.values())) // 2)
    with pytest.raises(SystemExit, match="more than the 0.0"):
        package("babble", *QUICK, "models=m")
    assert {path: path.read_bytes() for path in (in_tmp / "m" / "babble").iterdir()} == before
    (in_tmp / "other" / "babble").mkdir(parents=True)
    monkeypatch.setattr(command, "LIMIT", 10**9)
    with pytest.raises(SystemExit, match=r"^package_model: other/babble: exists, and holds no config\.json"):
        package("babble", *QUICK, "models=other")
    assert os.listdir(in_tmp / "other" / "babble") == [] and os.listdir(in_tmp / "other") == ["babble"]


def test_a_run_that_was_cut_short_goes_on(package, in_tmp, speech):
    settings = [*TINY, *QUICK, *own(speech, "june"), "logger=none"]
    package("babble", *settings)
    assert "done     4 steps" in package("babble", *QUICK, "trainer.max_steps=4")
    assert wavenet.load("data/models/babble").metadata["training"]["steps"] in (2, 4)  # of the better validation


def test_a_failing_command_ends_it_with_its_code(in_tmp, speech):
    code, line = call("babble", *TINY, *own(speech, "june"), "evaluate.secnds=1", "logger=none")
    assert code == 2 and line.startswith("wavenet evaluate: secnds=1: there is no such setting")
    assert not (in_tmp / "data").exists()
