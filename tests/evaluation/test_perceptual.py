import importlib
import math
import sys
import types

import pytest
import torch

from tests.conftest import PROMPTS
from wavenet.audio import read
from wavenet.evaluation import pesq, stoi
from wavenet.evaluation.perceptual import pesq_kind
from wavenet.extras import install_command


def speech(rate):
    return read(PROMPTS / "june" / "june_001.flac", rate)[0]


@pytest.mark.parametrize(("rate", "kind"), [(8000, (8000, "nb")), (16000, (16000, "wb")), (22050, (16000, "wb"))])
def test_identical_audio_scores_best_and_noise_worse(rate, kind):
    assert pesq_kind(rate) == kind
    x = speech(rate)
    noisy = (x + 0.02 * torch.randn(len(x))).clamp(-1, 1)
    noisier = (x + 0.2 * torch.randn(len(x))).clamp(-1, 1)
    for measure, best in ((pesq, 4.5), (stoi, 0.999)):
        values = [measure(degraded, x, rate).value for degraded in (x, noisy, noisier)]
        assert values[0] > best
        assert values[0] > values[1] > values[2] > 0


def test_11_khz_is_scored_in_narrow_band():
    assert pesq_kind(11025) == (8000, "nb")
    assert pesq(speech(11025), speech(11025), 11025).value > 4.5


def test_pesq_scores_the_first_ten_seconds():
    x = speech(8000).repeat(20)[:160_000]
    half = x.clone()
    half[80_000:] = 0.1 * torch.randn(80_000)
    assert pesq(half, x, 8000).value == pesq(x, x, 8000).value


def test_unusable_audio_is_not_passed_to_the_libraries():
    x = speech(8000)
    broken = x.clone()
    broken[100] = math.nan
    for generated, recording, reason in (
        (torch.zeros_like(x), x, "the generated audio is near silence"),
        (x, 1e-4 * x, "the recording is near silence"),
        (x[:3999], x[:3999], "shorter than 0.5 s"),
        (torch.zeros(0), torch.zeros(0), "shorter than 0.5 s"),
        (broken, x, "the generated audio contains NaN"),
        (x[1:], x, "both must be"),
    ):
        for measure in (pesq, stoi):
            verdict = measure(generated, recording, 8000)
            assert verdict.value is None and reason in verdict.reason


def test_a_click_between_pauses_is_not_speech():
    """Long and loud enough for our checks, but not for the libraries."""
    x = torch.zeros(8000)
    x[4000:4010] = 0.9
    verdict = stoi(x, x, 8000)
    assert (verdict.value, verdict.reason) == (None, "STOI needs 0.4 s of audio without pauses")
    assert pesq(x, x, 8000).reason.startswith("PESQ failed: ") or pesq(x, x, 8000).value > 0


def test_messages_of_pesq_are_reported(monkeypatch):
    class PesqError(RuntimeError):
        pass

    def refuse(*arguments):
        raise PesqError(b"No utterances detected")

    monkeypatch.setitem(sys.modules, "pesq", types.SimpleNamespace(pesq=refuse, PesqError=PesqError))
    assert pesq(speech(8000), speech(8000), 8000).reason == "PESQ failed: No utterances detected"


def test_without_the_extra_the_reason_is_what_to_install(monkeypatch):
    for name, measure in (("pesq", pesq), ("pystoi", stoi)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError):
            importlib.import_module(name)
        verdict = measure(speech(8000), speech(8000), 8000)
        assert verdict.value is None and verdict.reason.endswith(f"needs {install_command('report')}")
