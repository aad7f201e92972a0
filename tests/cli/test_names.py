"""Names of speakers are data in every command: normalised, never parsed, escaped where shown, unique as file names."""

import csv
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import soundfile
import yaml

import wavenet
from tests.conftest import ROOT, TINY

NFC, NFD = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
NAMES = ["${oc.env:HOME}", "???", "1_2", "12", "a b", "a_b", "A_b", NFC, "x" * 300]


def recording(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(3000) * (0.1 + 0.01 * seed)), 8000)


def test_any_name_is_trained_saved_resumed_and_generated(run, in_tmp):
    for number, name in enumerate(NAMES):
        for take in (0, 1):
            folder = NFD if name == NFC else str(number)
            recording(in_tmp / "d" / folder / f"{take}.wav", number)
    with (in_tmp / "d" / "index.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "speaker"])
        for number, name in enumerate(NAMES):  # the paths in the composed form, the names in the other
            folder = NFC if name == NFC else str(number)
            table.writerows([[f"{folder}/{take}.wav", NFD if name == NFC else name] for take in (0, 1)])
    run("train", *TINY, "dataset=folder", "dataset.root=d", "run_dir=r", "logger=csv", "samples.max_num=20")
    model = wavenet.load("r")
    assert model.conditioners["speaker"].categories == sorted(NAMES)
    sounds = [path.name for path in (in_tmp / "r" / "audio").rglob("*-generated.wav")]
    assert len({sound.casefold() for sound in sounds}) == len(NAMES)
    saved = yaml.safe_load((in_tmp / "r" / "config.yaml").read_text(encoding="utf-8"))
    assert r"\${oc.env:HOME}" in saved["model"]["conditioners"]["speaker"]["categories"]
    run("train", "resume=r", "trainer.max_steps=4")
    assert wavenet.load("r").conditioners["speaker"].categories == sorted(NAMES)
    audio = {}
    for name in (*NAMES, NFD):
        run("generate", "checkpoint=r", "backend=reference", "seconds=0.02", f"speaker={name}", "output=o (1).wav")
        audio[name] = (in_tmp / "o (1).wav").read_bytes()
        expected = wavenet.generate(model, 0.02, speaker=name, backend="reference")
        wavenet.audio.write("expected.wav", expected[0], 8000)
    assert audio[NFC] == audio[NFD] and len(set(audio.values())) > len(NAMES) // 2


def test_paths_with_hydras_characters(run, in_tmp):
    root = in_tmp / "H" / "${now:%Y} take (1), x[1]=日本"
    for take in (0, 1):
        recording(root / "???" / f"{take}.wav")
    given = ["dataset=folder", f"dataset.root={root}", "dataset.speakers_from_folders=true", "logger=none"]
    run("train", *TINY, *given, "run_dir=r${seed} [1]")
    run("train", "resume=r0 [1]", "trainer.max_steps=3", f"dataset.root={root}")
    assert wavenet.load("r0 [1]").conditioners["speaker"].categories == ["???"]
    assert sorted(os.listdir()) == ["H", "cache", "r0 [1]"]


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        ("train", "+trainer.plugins=evil", "trainer.plugins is not a setting of a run: a run brings its own"),
        ("train", "model.conditioners.speaker=5", "model.conditioners.speaker is 5; it must be a group of settings"),
        ("train", "+dataset._partial_=true", "dataset._partial_: only a part that the model builds later has it"),
        ("train", "hydra.run.dir=file/x", "file/x: Not a directory"),
        ("generate", "checkpoint=saved device=meta", "device=meta: not available here"),
        ("generate", "checkpoint=saved output=x.raw", "x.raw: '.raw' is not an audio format"),
        ("generate", "checkpoint=saved speaker=\x1b[31m", r"unknown speaker '\x1b[31m'; choose from a, b"),
        ("push", "checkpoint=saved repo=june/x token=hf_secret", "token is not a setting"),
    ],
)
def test_other_mistakes_end_in_one_line(run, in_tmp, small, command, overrides, message):
    (in_tmp / "file").touch()
    wavenet.save(small(speakers=("a", "b")), "saved")
    with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
        run(command, *(TINY if command == "train" else []), *overrides.split(" "))
    (line,) = [each for each in str(error.value).splitlines()[1:] if each]
    assert line.startswith(f"wavenet {command}: {message}") and "hf_secret" not in line and "\x1b" not in line
    assert not {"runs", "x.raw", "out.wav"} & set(os.listdir())


@pytest.mark.slow
def test_names_that_the_terminal_lacks_are_escaped(in_tmp, small):
    wavenet.save(small(speakers=("日本", "b")), "saved")
    command = [sys.executable, str(ROOT / "scripts" / "generate.py"), "checkpoint=saved", "seconds=0.01"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    shown = subprocess.run([*command, "backend=reference"], capture_output=True, timeout=120, env=environment)
    assert shown.returncode == 0 and rb"speaker=\u65e5\u672c" in shown.stdout
