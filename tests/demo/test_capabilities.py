"""The requests that a model supports, and invalid requests."""

import pytest

from tests.configured import build_model, settings
from wavenet.audio import Pitch
from wavenet.demo.capabilities import Capabilities, Limits
from wavenet.demo.request import GenerationRequest
from wavenet.demo.service import GenerationService
from wavenet.extras import install_command


def capabilities_of(*conditioners, dropout=()):
    names = [f"model.conditioners.{name}.dropout=0.5" for name in dropout]
    model = build_model(*settings(list(conditioners)), *names)
    return Capabilities(model, "tiny", Limits(max_seconds=3))


@pytest.mark.parametrize(
    ("conditioners", "dropout", "modes"),
    [
        ([], [], ["free", "continue"]),
        (["speaker", "language"], [], ["free", "continue"]),
        (["speaker"], ["speaker"], ["free", "continue"]),
        (["mel"], [], ["resynthesise"]),
        (["speaker", "mel", "f0"], ["f0"], ["resynthesise"]),
        (["mel"], ["mel"], ["free", "continue", "resynthesise"]),
        (["file"], [], []),
        (["mel", "file"], [], []),
        (["mel", "file"], ["features"], ["resynthesise"]),
        (["file"], ["features"], ["free", "continue"]),
    ],
)
def test_the_modes_of_each_model(conditioners, dropout, modes):
    capabilities = capabilities_of(*conditioners, dropout=dropout)
    assert capabilities.modes == modes
    assert (capabilities.unsupported_reason is None) == bool(modes)
    assert {name: optional for name, (_, optional) in capabilities.names.items()} == {
        name: name in dropout for name in conditioners if name in ("speaker", "language")
    }
    if not modes:
        assert (
            "This model needs 'features', which another program computes and which cannot be extracted"
            in capabilities.unsupported_reason
        )
        with pytest.raises(ValueError, match="cannot be extracted from a recording"):
            GenerationRequest.read([], capabilities)


def test_a_pitch_needs_librosa(monkeypatch):
    monkeypatch.setattr(Pitch, "is_available", lambda: False)
    assert capabilities_of("f0").unsupported_reason == (
        f"This model needs f0, which is computed by librosa, and librosa is not installed: {install_command('pitch')}."
    )


@pytest.mark.parametrize("conditioners", [["speaker", "mel", "f0"], ["speaker"], []])
def test_every_mode_is_warmed_up(conditioners):
    service = GenerationService(build_model(*settings(conditioners)).eval())
    assert service.warm_up() == []
    assert service.backend == "cpu"


def test_the_reason_for_a_slower_backend_is_reported_once(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    service = GenerationService(build_model(*settings([])).eval())
    (line,) = service.warm_up()
    assert "slower backend 'reference', because cpu: numba is switched off" in line
    assert service.backend == "reference"


def test_a_request_is_parsed():
    capabilities = capabilities_of("speaker")
    query = [("mode", "continue"), ("seconds", "2.5"), ("seed", str(2**63 - 1)), ("temperature", "0.9")]
    request = GenerationRequest.read([*query, ("top_k", "5"), ("conditions.speaker", "ann")], capabilities)
    assert request == GenerationRequest("continue", 2.5, 2**63 - 1, 0.9, 5, {"speaker": "ann"})
    assert GenerationRequest.read([("top_k", ""), ("conditions.speaker", "")], capabilities) == GenerationRequest(
        "free", 2.0
    )


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("mode", "resynthesise", "mode is 'resynthesise'; it must be free or continue"),
        ("seconds", "3.1", "seconds is '3.1'; it must be a number above 0 and at most 3"),
        ("seconds", "0", "seconds is '0'; it must be a number above 0"),
        ("seconds", "nan", "seconds is 'nan'; it must be a number"),
        ("seconds", "", "seconds is ''; it must be a number"),
        ("seconds", "9" * 5000, "seconds is '9999"),
        ("seed", "-1", "seed is '-1'; it must be a whole number from 0 to 9223372036854775807"),
        ("seed", str(2**63), "it must be a whole number"),
        ("seed", "9" * 5000, "it must be a whole number"),
        ("seed", "²", "it must be a whole number"),
        ("seed", "1.0", "it must be a whole number"),
        ("temperature", "inf", "temperature is 'inf'; it must be a number of at least 0 and at most 1000"),
        ("top_k", "0", "top_k is '0'; it must be a whole number from 1"),
        ("speaker", "ann", "'speaker': there is no such setting; known are mode, seconds,"),
        ("conditions.language", "it", "there is no such setting; known are"),
    ],
)
def test_invalid_requests(setting, value, message):
    with pytest.raises(ValueError) as error:
        GenerationRequest.read([(setting, value)], capabilities_of("speaker"))
    assert message in str(error.value)
    assert len(str(error.value)) < 300


def test_a_setting_that_is_given_twice():
    with pytest.raises(ValueError, match="seed is given twice"):
        GenerationRequest.read([("seed", "1"), ("seed", "2")], capabilities_of())
