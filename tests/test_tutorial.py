"""The tutorial is run as it stands there, and must print and draw what it shows."""

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "data" / "tutorial" / "from-conv1d-to-wavenet.md"
PICTURES = sorted(path.name for path in TUTORIAL.parent.glob("*.png"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What the tutorial's code printed, and the folder where it ran."""
    folder = tmp_path_factory.mktemp("tutorial")
    command = [sys.executable, "-W", "error", str(ROOT / "scripts" / "tutorial.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    return result.stdout, folder


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_it_prints_what_it_shows(ran):
    assert len(blocks("python")) > 15
    assert ran[0] == "".join(blocks("text"))


def test_the_tone_is_generated(ran):
    """By another way than the tutorial's: how far the phase turns, and what a sine of 440 Hz leaves over.

    Zero crossings would count a sample that was drawn from a tail of the distribution as a period.
    """
    audio, rate = soundfile.read(ran[1] / "tone.wav")
    assert (rate, len(audio)) == (8000, 16000)
    steady = audio[4000:]
    assert 0.3 < steady.std() < 0.4  # a sine of amplitude 0.5 has 0.354
    phases = []
    turns = np.exp(2j * np.pi * 440 / rate * np.arange(400))  # whole periods: 22
    for piece in steady.reshape(-1, 400):  # its phase may wander; over 50 ms it does not
        amplitude = 2 * np.mean(piece * turns.conj())
        assert np.std(piece - (amplitude * turns).real) < 0.15
        phases.append(np.angle(amplitude))
    seconds = (len(phases) - 1) * 400 / rate
    assert abs(np.unwrap(phases)[-1] - phases[0]) / (2 * np.pi * seconds) < 3  # Hz away from 440


def ink(path):
    """How much darker than white each pixel is, (height, width), smoothed so that fonts hardly matter."""
    dark = 1 - matplotlib.image.imread(path)[..., :3].mean(axis=-1)
    height, width = (size // 10 * 10 for size in dark.shape)
    return dark[:height, :width].reshape(height // 10, 10, width // 10, 10).mean(axis=(1, 3))


@pytest.mark.parametrize("name", PICTURES)
def test_its_pictures_are_those_of_its_code(ran, name):
    assert f"]({name})" in TUTORIAL.read_text(encoding="utf-8")
    drawn, committed = ink(ran[1] / name), ink(TUTORIAL.parent / name)
    assert drawn.shape == committed.shape
    # Another picture differs by more than 1. The tone's phase is a matter of rounding: with another seed it is 0.6.
    assert np.abs(drawn - committed).sum() < (0.8 if name == "tone.png" else 0.3) * committed.sum()


def test_every_picture_is_there():
    assert len(PICTURES) == 3
    shown = re.findall(r"!\[[^]]+\]\((.+?)\)", TUTORIAL.read_text(encoding="utf-8"))
    assert sorted(shown) == PICTURES


def test_a_failure_names_the_tutorials_line(tmp_path):
    lines = TUTORIAL.read_text(encoding="utf-8").splitlines()
    at = lines.index("batch = torch.randn(32, 35, 256)")
    copy = tmp_path / "data" / "tutorial" / TUTORIAL.name
    copy.parent.mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    script = Path(tmp_path / "scripts" / "tutorial.py")
    script.write_text((ROOT / "scripts" / "tutorial.py").read_text())
    copy.write_text("\n".join([*lines[:at], "raise SystemError", *lines[at + 1 :]]), encoding="utf-8")
    result = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert f'{TUTORIAL.name}", line {at + 1}' in result.stderr
