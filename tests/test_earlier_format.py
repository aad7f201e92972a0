"""What was saved in format 1 (see tests/format_1) loads, generates and goes on as it did then."""

import importlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio

import wavenet

SAVED = Path(__file__).parent / "format_1"
EXPECTED = json.loads((SAVED / "expected.json").read_text())


@pytest.mark.parametrize("path", ["model", "run"])
def test_a_model_of_format_1_gives_the_same_likelihoods(path):
    model = wavenet.load(SAVED / path)
    waveform = 0.3 * torch.sin(2 * math.pi * 200 * (torch.arange(300) / 8000))
    mel = torch.linspace(-8, -2, 16)[:, None].expand(16, 5) + torch.linspace(0, 1, 5)
    with torch.inference_mode():
        log_prob, _ = model.log_prob(waveform[None], model.condition({"speaker": "june", "mel": mel}, 1))
    torch.testing.assert_close(log_prob[0, ::15], torch.tensor(EXPECTED["log_prob"]), atol=1e-4, rtol=0)
    assert model.metadata is not None and model.metadata["training"]["steps"] == 4


def test_a_model_of_format_1_generates_and_is_saved_in_todays_format(tmp_path):
    model = wavenet.load(SAVED / "model")
    mel = torch.zeros(16, 20) - 5
    sounds = [
        wavenet.generate(each, 0.1, speaker="june", conditions={"mel": mel}, seed=1)
        for each in (model, wavenet.load(wavenet.save(model, tmp_path / "model")))
    ]
    assert torch.equal(*sounds) and bool((sounds[0] != 0).any())
    assert json.loads((tmp_path / "model" / "config.json").read_text())["format_version"] == 2


def resampled_then(waveform, from_rate, to_rate):
    """Resample by the filter of that time."""
    options = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}
    method = "sinc_interp_kaiser"
    return torchaudio.functional.resample(waveform, from_rate, to_rate, resampling_method=method, **options).clamp(
        -1, 1
    )


def test_a_run_of_format_1_goes_on_as_it_would_have_then(run, in_tmp, monkeypatch):
    """With the recordings prepared as they were then: by another filter, and 16-bit samples cut off, not rounded."""
    monkeypatch.setattr(importlib.import_module("wavenet.data.prepare"), "resample", resampled_then)
    monkeypatch.setattr("wavenet.audio.files.as_int16", lambda samples: samples)
    shutil.copytree(SAVED / "run", "run")
    run("train", "resume=run", "trainer.max_steps=6")
    contents = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert contents["global_step"] == 6
    assert "DivergenceMonitor" in contents["callbacks"] and "LossWatch" not in contents["callbacks"]
    for state, weights in EXPECTED["after_step_6"].items():
        for name, numbers in weights.items():
            weight = contents[state][f"model.{name.replace('.upsample.', '.upsampling.')}"].flatten()[: len(numbers)]
            torch.testing.assert_close(
                weight, torch.tensor(numbers), atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
            )
    np.save("mel.npy", np.full((16, 10), -5, np.float32))
    run("generate", "checkpoint=run", "seconds=0.02", "speaker=june", "mel=mel.npy")
