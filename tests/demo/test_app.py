"""The page's server, asked over a real connection: the same audio as Python's, limits, and strangers."""

import http.client
import io
import json
import logging
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

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
from wavenet.demo import app, upload
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
    """A server that is quick, and whose limits are not reached."""
    service = GenerationService(models["mu-law"], "tiny", Limits(max_seconds=3, max_upload_bytes=MEGABYTE))
    with serving(service) as url:
        yield service, url


@pytest.fixture
def slow(models):
    """A server that takes minutes for what it is asked, and that has one place."""
    service = GenerationService(
        models["mu-law"], "slow", Limits(max_seconds=3600, max_concurrent=1), backend="reference"
    )
    with serving(service) as url:
        yield service, url


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where files for a while are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["mu-law", "logistic mixture", "context stack"])
def test_the_same_audio_as_in_python(models, kind):
    model = models[kind]
    with serving(GenerationService(model)) as url:
        heard = generate(url, seconds=0.4, seed=3, temperature=0.9, conditions__speaker="june")
        assert torch.equal(heard, wavenet.generate(model, 0.4, seed=3, temperature=0.9, speaker="june")[0])
        heard = generate(url, seconds=0.2, top_k=5, conditions__speaker="carlo")
        if kind == "logistic mixture":
            assert heard[0] == 400 and "top_k is 5, but LogisticMixture has no classes to choose among" in heard[1]
        else:
            assert torch.equal(heard, wavenet.generate(model, 0.2, top_k=5, speaker="carlo")[0])


@pytest.mark.parametrize("how", [{"format": "WAV"}, {"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}])
def test_a_recording_is_continued(models, quick, temporary, how):
    waveform, rate = read(RECORDING)
    stereo = np.stack([waveform[:rate], 0.5 * waveform[:rate]], axis=1)
    data = encoded(stereo, rate, **how)
    heard = generate(quick[1], data, mode="continue", seconds=0.3, seed=1, conditions__speaker="june")
    (temporary / "prompt").write_bytes(data)
    prompt, _ = read(temporary / "prompt", 8000)
    assert torch.equal(heard, wavenet.generate(models["mu-law"], 0.3, seed=1, speaker="june", prompt=prompt)[0])
    assert not torch.equal(heard, wavenet.generate(models["mu-law"], 0.3, seed=1, speaker="june")[0])


def test_a_recording_is_made_again(models, temporary):
    model = models["vocoder"]
    data = encoded(read(RECORDING, 16000)[0][:9001], 16000)  # no whole number of frames
    (temporary / "recording").write_bytes(data)
    waveform, _ = read(temporary / "recording", 8000)
    conditions = {each.name: each.extract(waveform) for each in model.features}
    with serving(GenerationService(model)) as url:
        heard = generate(url, data, seed=2)
        assert len(heard) == len(waveform) == 4501
        assert torch.equal(heard, wavenet.generate(model, 4501 / 8000, seed=2, conditions=conditions)[0])
        status, message = generate(url, data, mode="free")
        assert (status, "it must be resynthesise for this model" in message) == (400, True)


def test_what_the_model_is(quick, models):
    status, _, body = ask(quick[1], path="/model")
    said = json.loads(body)
    assert status == 200
    assert said["sample_rate"] == 8000 and said["modes"] == ["free", "continue"]
    assert said["names"] == [{"name": "speaker", "known": ["allison", "carlo", "june"], "optional": False}]
    assert said["parameters"] == sum(p.numel() for p in models["mu-law"].parameters())


def test_wrong_settings_are_named(quick):
    for request, message in (
        ({}, "the model needs a speaker: give speaker=NAME, one of allison, carlo, june"),
        ({"conditions__speaker": "bob"}, "unknown speaker 'bob'; the model knows allison, carlo, june"),
        ({"seconds": 4}, "seconds is '4'; it must be a number above 0 and at most 3"),
        ({"seed": "x"}, "seed is 'x'; it must be a whole number"),
    ):
        status, said = generate(quick[1], **request)
        assert status == 400 and message in said


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
BAD = {
    "text": (b"This is no recording, whatever it is called.\n" * 100, "not readable as audio"),
    "empty": (b"", "there is none; choose a file, or record one"),
    "cut off": (encoded(NOISE, 8000)[:5000], "cut off; its header says"),
    "a cut-off FLAC": (encoded(NOISE, 8000, format="FLAC")[:5000], ""),
    "no samples": (encoded(NOISE[:0], 8000), "empty, no samples"),
    "not numbers": (encoded(np.where(NOISE > 0.49, np.nan, NOISE), 8000, subtype="FLOAT"), "holds NaN or infinite"),
    "too loud": (encoded(NOISE * 100, 8000, subtype="FLOAT"), "beyond [-1, 1]"),
    "too long": (encoded(np.tile(NOISE, 4), 8000), "longer than 3 s"),
    "hours of silence": (encoded(np.zeros(2**24, np.int16), 8000, format="FLAC"), "longer than 3 s"),
    "an absurd rate": (encoded(NOISE, 8000).replace((8000).to_bytes(4, "little"), (7).to_bytes(4, "little")), "7 Hz"),
    "a web page": (b"<!doctype html><script>alert(1)</script>", "not readable as audio"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_recordings_are_named_and_harm_nobody(quick, temporary, what):
    data, message = BAD[what]
    headers = {"Content-Type": "audio/wav", "Content-Disposition": 'attachment; filename="../../../etc/cron.d/x"'}
    status, said = generate(quick[1], data, headers, mode="continue", conditions__speaker="june")
    assert status == 400
    assert said.startswith("your recording: ") and message in said
    assert str(temporary) not in said and "\n" not in said
    assert list(temporary.iterdir()) == []
    assert len(generate(quick[1], seconds=0.1, conditions__speaker="june")) == 800


def test_no_place_for_a_recording(quick, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    said = generate(quick[1], encoded(NOISE, 8000), mode="continue", conditions__speaker="june")
    assert said == (400, "your recording: the server has no place for it (No such file or directory)")


def test_a_recording_where_none_is_taken(quick):
    status, message = generate(quick[1], b"RIFF", conditions__speaker="june")
    assert status == 413 and message == "a recording came along, but mode=free takes none"


def test_too_large_a_recording(quick):
    request = {"mode": "continue", "conditions__speaker": "june"}
    status, message = generate(quick[1], bytes(MEGABYTE + 1), **request)
    assert (status, message) == (413, "your recording has more than 1 MB; send a shorter one")
    status, _, _ = ask(quick[1], "POST", f"/generate?{query(**request)}", iter([bytes(1000)] * 2000))  # chunked
    assert status == 413
    assert quick[0].running == 0


def test_no_more_is_kept_than_is_taken():
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
def test_a_length_that_is_a_lie(quick, claimed):
    """A short one cuts the file off; a long one is refused before anything comes."""
    request = query(mode="continue", conditions__speaker="june")
    with closing(connect(quick[1])) as connection:
        headers = {"Content-Length": str(claimed)}
        connection.request("POST", f"/generate?{request}", encoded(NOISE, 8000)[:1000], headers)
        assert connection.getresponse().status == (400 if claimed == 10 else 413)
    assert quick[0].running == 0


def test_a_recording_that_never_arrives(slow, monkeypatch):
    monkeypatch.setattr(upload, "PATIENCE", 0.2)
    request = query(mode="continue", conditions__speaker="june")
    with closing(connect(slow[1])) as connection:
        connection.request("POST", f"/generate?{request}", b"RIFF", {"Content-Length": "1000"})
        answer = connection.getresponse()
        assert answer.status == 408
        assert "took too long to arrive" in json.loads(answer.read())["error"]
    assert slow[0].running == 0


def test_who_comes_when_all_places_are_taken_is_told_so(slow):
    service, url = slow
    connection, _ = start(url, seconds=3600, conditions__speaker="june")
    status, message = generate(url, seconds=0.01, conditions__speaker="june")
    assert (status, message.split(";")[0]) == (503, "1 of 1 generations are running already")
    assert ask(url, path="/model")[0] == 200
    connection.close()
    until(lambda: service.running == 0)
    assert len(generate(url, seconds=0.01, conditions__speaker="june")) == 80


def test_two_at_once_make_what_each_makes_alone(quick, models):
    with ThreadPoolExecutor(2) as pool:
        wishes = [pool.submit(generate, quick[1], seconds=3, seed=k, conditions__speaker="june") for k in (5, 6)]
        heard = [request.result() for request in wishes]
    assert torch.equal(torch.stack(heard), wavenet.generate(models["mu-law"], 3, num=2, seed=5, speaker="june"))


def counted(service, monkeypatch):
    """How many pieces have been made; a list that grows."""
    made, chunks = [], service.chunks

    def counting(audio_stream):
        for piece in chunks(audio_stream):
            made.append(len(piece))
            yield piece

    monkeypatch.setattr(service, "chunks", counting)
    return made


def test_nothing_is_made_for_somebody_who_has_left(slow, monkeypatch):
    service, url = slow
    made = counted(service, monkeypatch)
    connection, _ = start(url, seconds=3600, conditions__speaker="june")
    until(lambda: len(made) > 3)
    connection.close()
    until(lambda: service.running == 0)
    count = len(made)
    assert len(generate(url, seconds=0.1, conditions__speaker="june")) == 800  # time goes by
    assert sum(made[count:]) <= 4 * 800 and sum(made) < 4 * 3600 * 8000


def test_nothing_is_made_ahead_for_somebody_who_does_not_listen(models, monkeypatch):
    """Then the kernel's and the server's buffers are full, and after a while the place is given to others."""
    service = GenerationService(models["mu-law"], limits=Limits(max_seconds=3600, max_concurrent=1))
    monkeypatch.setattr(app, "PATIENCE", 0.5)
    made = counted(service, monkeypatch)
    with serving(service) as url:
        connection, _ = start(url, seconds=3600, conditions__speaker="june")
        until(lambda: service.running == 0)
        assert sum(made) < 4 * 3600 * 8000 / 2
        connection.close()


def test_the_end_of_the_server_is_the_end_of_what_it_makes(models):
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
    """As raw bytes: a client's library would tidy the path up."""
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


def test_what_every_answer_says_besides(quick):
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
    """A site can have its own name point here, and then read what its page asks for."""
    status, _, body = ask(quick[1], path="/model", headers={"Host": host})
    assert (status, body) == (400, b"Invalid host header")


def test_only_the_page_itself_may_ask(quick):
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
        assert generate(own, headers=headers, **request) == (403, "only the page itself may ask for audio")
    for headers in ({"Origin": own}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {}):
        assert len(generate(own, headers=headers, **request)) == 80


def test_an_error_of_our_own_says_nothing_of_this_machine(quick, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError(f"{ROOT}/somewhere: {SECRET}")

    monkeypatch.setattr(quick[0], "start", fail)
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        status, message = generate(quick[1], conditions__speaker="june")
        until(lambda: SECRET in caplog.text)  # there is the traceback
    assert (status, message) == (500, "something went wrong; the terminal where the page was started says what")
    assert quick[0].running == 0
