"""The page's server over a real connection: the same audio as in Python, limits, and untrusted requests."""

import http.client
import io
import json
import logging
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import anyio
import numpy as np
import pytest
import soundfile
import torch

import wavenet
from tests.conftest import PROMPTS, ROOT
from tests.demo.serving import ask, connect, generate, query, serving, start, until
from tests.reliability.models import make
from wavenet.audio import read
from wavenet.demo import app, server, upload
from wavenet.demo.capabilities import Limits
from wavenet.demo.service import GenerationService

pytestmark = pytest.mark.slow

PAGE = ROOT / "wavenet" / "demo" / "page"
RECORDING = PROMPTS / "june" / "june_001.flac"
SECRET = "root:x:0:0"
MEGABYTE = 2**20


def encoded(samples, rate, **how):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **({"format": "WAV"} | how))
    return file.getvalue()


@pytest.fixture(scope="module")
def models():
    return {kind: make(kind, tiny=True) for kind in ("mu-law", "logistic mixture", "vocoder", "context stack")}


@pytest.fixture(scope="module")
def quick(models):
    """A fast server, whose limits are not reached."""
    service = GenerationService(models["mu-law"], "tiny", Limits(max_seconds=3, max_upload_bytes=MEGABYTE))
    with serving(service) as url:
        yield service, url


@pytest.fixture
def slow(models):
    """A server that takes minutes for a generation, with one slot."""
    service = GenerationService(
        models["mu-law"], "slow", Limits(max_seconds=3600, max_concurrent=1), backend="reference"
    )
    with serving(service) as url:
        yield service, url


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["mu-law", "logistic mixture", "context stack"])
def test_the_same_audio_as_in_python(models, kind):
    model = models[kind]
    with serving(GenerationService(model)) as url:
        audio = generate(url, seconds=0.4, seed=3, temperature=0.9, conditions__speaker="june")
        assert torch.equal(audio, wavenet.generate(model, 0.4, seed=3, temperature=0.9, speaker="june")[0])
        audio = generate(url, seconds=0.2, top_k=5, conditions__speaker="carlo")
        if kind == "logistic mixture":
            assert audio[0] == 400
            assert f"top_k is 5, but the output distribution, {model.distribution.label}, has no classes" in audio[1]
        else:
            assert torch.equal(audio, wavenet.generate(model, 0.2, top_k=5, speaker="carlo")[0])


@pytest.mark.parametrize("how", [{"format": "WAV"}, {"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}])
def test_a_recording_is_continued(models, quick, temporary, how):
    waveform, rate = read(RECORDING)
    stereo = np.stack([waveform[:rate], 0.5 * waveform[:rate]], axis=1)
    data = encoded(stereo, rate, **how)
    audio = generate(quick[1], data, mode="continue", seconds=0.3, seed=1, conditions__speaker="june")
    (temporary / "prompt").write_bytes(data)
    prompt, _ = read(temporary / "prompt", 8000)
    assert torch.equal(audio, wavenet.generate(models["mu-law"], 0.3, seed=1, speaker="june", prompt=prompt)[0])
    assert not torch.equal(audio, wavenet.generate(models["mu-law"], 0.3, seed=1, speaker="june")[0])


def test_a_recording_is_resynthesised(models, temporary):
    model = models["vocoder"]
    data = encoded(read(RECORDING, 16000)[0][:9001], 16000)  # no whole number of frames
    (temporary / "recording").write_bytes(data)
    waveform, _ = read(temporary / "recording", 8000)
    conditions = {each.name: each.extract(waveform) for each in model.features}
    with serving(GenerationService(model)) as url:
        audio = generate(url, data, seed=2)
        assert len(audio) == len(waveform) == 4501
        assert torch.equal(audio, wavenet.generate(model, 4501 / 8000, seed=2, conditions=conditions)[0])
        status, message = generate(url, data, mode="free")
        assert (status, "it must be resynthesise for this model" in message) == (400, True)


def test_the_models_description(quick, models):
    status, _, body = ask(quick[1], path="/model")
    description = json.loads(body)
    assert status == 200
    assert description["sample_rate"] == 8000 and description["modes"] == ["free", "continue"]
    assert description["names"] == [{"name": "speaker", "known": ["allison", "carlo", "june"], "optional": False}]
    assert description["parameters"] == sum(p.numel() for p in models["mu-law"].parameters())


def test_wrong_settings_are_named(quick):
    for request, message in (
        ({}, "the model needs a speaker: give speaker=NAME, one of allison, carlo, june"),
        ({"conditions__speaker": "bob"}, "unknown speaker 'bob'; choose from allison, carlo, june"),
        ({"seconds": 4}, "seconds is '4'; it must be a number above 0 and at most 3"),
        ({"seed": "x"}, "seed is 'x'; it must be a whole number"),
    ):
        status, error = generate(quick[1], **request)
        assert status == 400 and message in error


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
BAD = {
    "text": (b"This is no recording, whatever it is called.\n" * 100, "not readable as audio"),
    "empty": (b"", "empty or missing; choose another file, or record one"),
    "cut off": (encoded(NOISE, 8000)[:5000], "cut off; its header says"),
    "a cut-off FLAC": (encoded(NOISE, 8000, format="FLAC")[:5000], ""),
    "no samples": (encoded(NOISE[:0], 8000), "empty, no samples"),
    "not numbers": (encoded(np.where(NOISE > 0.49, np.nan, NOISE), 8000, subtype="FLOAT"), "holds NaN or infinite"),
    "too loud": (encoded(NOISE * 100, 8000, subtype="FLOAT"), "above full scale"),
    "too long": (encoded(np.tile(NOISE, 4), 8000), "longer than 3 s"),
    "hours of silence": (encoded(np.zeros(2**24, np.int16), 8000, format="FLAC"), "longer than 3 s"),
    "an absurd rate": (encoded(NOISE, 8000).replace((8000).to_bytes(4, "little"), (7).to_bytes(4, "little")), "7 Hz"),
    "a web page": (b"<!doctype html><script>alert(1)</script>", "not readable as audio"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_recordings_are_rejected_with_a_reason(quick, temporary, what):
    data, message = BAD[what]
    headers = {"Content-Type": "audio/wav", "Content-Disposition": 'attachment; filename="../../../etc/cron.d/x"'}
    status, error = generate(quick[1], data, headers, mode="continue", conditions__speaker="june")
    assert status == 400
    assert error.startswith("your recording: ") and message in error
    assert str(temporary) not in error and "\n" not in error
    assert list(temporary.iterdir()) == []
    assert len(generate(quick[1], seconds=0.1, conditions__speaker="june")) == 800


def test_a_recording_that_cannot_be_stored(quick, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    error = generate(quick[1], encoded(NOISE, 8000), mode="continue", conditions__speaker="june")
    assert error == (400, "your recording: the server cannot store it (No such file or directory)")


def test_a_recording_where_none_is_expected(quick):
    status, message = generate(quick[1], b"RIFF", conditions__speaker="june")
    assert status == 413 and message == "the request has a recording, but mode=free does not use one"


def test_too_large_a_recording(quick):
    request = {"mode": "continue", "conditions__speaker": "june"}
    status, message = generate(quick[1], bytes(MEGABYTE + 1), **request)
    assert (status, message) == (413, "your recording is larger than 1 MB; send a shorter one")
    status, _, _ = ask(quick[1], "POST", f"/generate?{query(**request)}", iter([bytes(1000)] * 2000))  # chunked
    assert status == 413
    assert quick[0].running == 0


def test_uploads_are_read_up_to_the_limit_only():
    taken = 0

    async def chunks():
        nonlocal taken
        while True:
            taken += 1000
            yield bytes(1000)

    with pytest.raises(upload.TooLargeError):
        anyio.run(upload.collect, chunks(), 5500)
    assert taken == 6000


@pytest.mark.parametrize("claimed", [10, 5 * 10**9])
def test_a_wrong_content_length(quick, claimed):
    """A short one truncates the file; a long one is rejected before the body is read."""
    request = query(mode="continue", conditions__speaker="june")
    with closing(connect(quick[1])) as connection:
        headers = {"Content-Length": str(claimed)}
        connection.request("POST", f"/generate?{request}", encoded(NOISE, 8000)[:1000], headers)
        assert connection.getresponse().status == (400 if claimed == 10 else 413)
    assert quick[0].running == 0


def test_a_recording_that_never_arrives(slow, monkeypatch):
    monkeypatch.setattr(upload, "UPLOAD_TIMEOUT", 0.2)
    request = query(mode="continue", conditions__speaker="june")
    with closing(connect(slow[1])) as connection:
        connection.request("POST", f"/generate?{request}", b"RIFF", {"Content-Length": "1000"})
        answer = connection.getresponse()
        assert answer.status == 408
        assert "took too long to arrive" in json.loads(answer.read())["error"]
    assert slow[0].running == 0


def test_idle_connections_are_closed_in_time(slow, monkeypatch):
    monkeypatch.setattr(server, "_IDLE", 0.5)
    url = slow[1]
    with ExitStack() as held:
        for number in range(70):
            connection = held.enter_context(closing(connect(url)))
            connection.connect()
            if number % 2:
                connection.sock.sendall(b"GET / HTTP/1.1\r\n")  # and no end
        until(lambda: ask(url)[0] == 200, seconds=10)


def test_a_request_while_all_slots_are_taken(slow):
    service, url = slow
    connection, _ = start(url, seconds=3600, conditions__speaker="june")
    status, message = generate(url, seconds=0.01, conditions__speaker="june")
    assert (status, message.split(";")[0]) == (503, "1 of 1 generations are already running")
    assert ask(url, path="/model")[0] == 200
    connection.close()
    until(lambda: service.running == 0)
    assert len(generate(url, seconds=0.01, conditions__speaker="june")) == 80


def test_concurrent_generations_are_independent(quick, models):
    with ThreadPoolExecutor(2) as pool:
        requests = [pool.submit(generate, quick[1], seconds=3, seed=k, conditions__speaker="june") for k in (5, 6)]
        audio = [request.result() for request in requests]
    assert torch.equal(torch.stack(audio), wavenet.generate(models["mu-law"], 3, num=2, seed=5, speaker="june"))


def counted(service, monkeypatch):
    """Record the lengths of the chunks that are generated."""
    generated, chunks = [], service.chunks

    def counting(audio_stream):
        for chunk in chunks(audio_stream):
            generated.append(len(chunk))
            yield chunk

    monkeypatch.setattr(service, "chunks", counting)
    return generated


def test_generation_stops_when_the_client_disconnects(slow, monkeypatch):
    service, url = slow
    generated = counted(service, monkeypatch)
    connection, _ = start(url, seconds=3600, conditions__speaker="june")
    until(lambda: len(generated) > 3)
    connection.close()
    until(lambda: service.running == 0)
    count = len(generated)
    assert len(generate(url, seconds=0.1, conditions__speaker="june")) == 800  # meanwhile, time passes
    assert sum(generated[count:]) <= 4 * 800 and sum(generated) < 4 * 3600 * 8000


def test_generation_stops_for_a_client_that_does_not_read(models, monkeypatch):
    """The kernel's and the server's buffers fill up, and after a timeout the slot is released."""
    service = GenerationService(models["mu-law"], limits=Limits(max_seconds=3600, max_concurrent=1))
    monkeypatch.setattr(app, "SEND_TIMEOUT", 0.5)
    generated = counted(service, monkeypatch)
    with serving(service) as url:
        connection, _ = start(url, seconds=3600, conditions__speaker="june")
        until(lambda: service.running == 0)
        assert sum(generated) < 4 * 3600 * 8000 / 2
        connection.close()


def test_shutdown_stops_generations(models):
    service = GenerationService(models["mu-law"], limits=Limits(max_seconds=3600), backend="reference")
    with serving(service) as url:
        connection, answer = start(url, seconds=3600, conditions__speaker="june")
    with closing(connection), pytest.raises(http.client.IncompleteRead):
        answer.read()
    assert service.running == 0


PATHS = [
    "/../pyproject.toml", "/../../../../../../etc/passwd", "/%2e%2e/%2e%2e/pyproject.toml", "/..%2f..%2fpyproject.toml",
    "/page/demo.js", "/page/", "/demo.js/../../app.py", "/demo.js/", "/./demo.js", "//etc/passwd", "/etc/passwd",
    "/index.html%00.js", "/app.py", "/__init__.py", "/%5c..%5capp.py", "/static/../app.py", "/model/", "/generate/",
    "/favicon.ico", "/%252e%252e/app.py", str(ROOT / "pyproject.toml"), str(PAGE / "demo.js"),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_other_path_is_served(quick, path):
    """As raw bytes: a client library would normalise the path."""
    host, port = quick[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 404")
    assert json.loads(answer.split("\r\n\r\n", 1)[1]) == {"error": "Not Found"}


def test_every_file_of_the_page_is_served_and_no_other(quick):
    names = sorted(path.name for path in PAGE.iterdir())
    assert sorted(app._FILES) == names
    for name in [*names, ""]:
        status, headers, body = ask(quick[1], path=f"/{name}")
        assert status == 200
        assert body == (PAGE / (name or "index.html")).read_bytes()
        assert headers["Content-Type"].split("/")[0] in ("text", "image")


def test_headers_of_every_response(quick):
    for method, path in (("GET", "/"), ("GET", "/nothing"), ("POST", "/generate"), ("GET", "/model"), ("PUT", "/")):
        _, headers, _ = ask(quick[1], method, path)
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "Server" not in headers and "Access-Control-Allow-Origin" not in headers
    assert ask(quick[1], "GET", "/generate?conditions.speaker=june")[0] == 405
    assert ask(quick[1], "OPTIONS", "/generate", headers={"Origin": "http://evil.example"})[0] == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost@evil", ""])
def test_other_names_of_this_machine_are_refused(quick, host):
    """A site can resolve its own host name to this machine and read the responses (DNS rebinding)."""
    status, _, body = ask(quick[1], path="/model", headers={"Host": host})
    assert (status, body) == (400, b"Invalid host header")


def test_only_the_page_itself_may_request_audio(quick):
    request = {"seconds": 0.01, "conditions__speaker": "june"}
    own = quick[1]
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": own.rsplit(":", 1)[0] + ":1"},
        {"Origin": own.replace("http:", "https:")},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": own},
    ):
        assert generate(own, headers=headers, **request) == (403, "only the page itself may request audio")
    for headers in ({"Origin": own}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {}):
        assert len(generate(own, headers=headers, **request)) == 80


def test_internal_errors_reveal_no_details(quick, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError(f"{ROOT}/somewhere: {SECRET}")

    monkeypatch.setattr(quick[0], "start", fail)
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        status, message = generate(quick[1], conditions__speaker="june")
        until(lambda: SECRET in caplog.text)  # the traceback is logged
    assert (status, message) == (500, "internal error; the terminal where the page was started shows the details")
    assert quick[0].running == 0
