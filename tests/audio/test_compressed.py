"""Formats that libsndfile does not read."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile

from wavenet.audio import AudioError, compressed, looks_like_audio, read
from wavenet.data import prepare
from wavenet.data.folder import Folder
from wavenet.extras import install_command

av = pytest.importorskip("av")
RATE = 16000
NOISE = np.convolve(np.random.default_rng(0).standard_normal(2 * RATE), np.ones(20) / 20, "same").astype(np.float32)


def encode(path, codec, samples=NOISE, rate=RATE):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        context = stream.codec_context
        convert = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or None)
        for each in [*convert.resample(frame), *convert.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("x.m4a", "aac", RATE), ("x.webm", "libopus", 48000), ("x.wv", "wavpack", RATE)]
)
def test_the_samples_are_those_that_were_encoded(tmp_path, name, codec, rate):
    encode(tmp_path / name, codec, rate=rate)
    waveform, found = read(tmp_path / name)
    assert found == rate and abs(len(waveform) - len(NOISE)) <= 128
    length = min(len(waveform), len(NOISE))
    assert np.corrcoef(waveform[:length], NOISE[:length])[0, 1] > 0.98


@pytest.mark.parametrize("part", [0.3, 0.8])
def test_a_file_that_was_cut_off_is_named(tmp_path, part):
    encode(tmp_path / "x.mka", "aac")
    data = (tmp_path / "x.mka").read_bytes()
    encode(tmp_path / "x.m4a", "aac")
    data = (tmp_path / "x.m4a").read_bytes()
    (tmp_path / "x.m4a").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(AudioError, match=r"x\.m4a: (not readable|cut off|damaged)"):
        read(tmp_path / "x.m4a")


def test_a_folder_of_all_kinds(tmp_path, monkeypatch):
    root = tmp_path / "in"
    root.mkdir()
    for name in ("a.wav", "b.wave"):
        soundfile.write(root / name, NOISE, RATE, format="WAV")
    soundfile.write(root / "c.sph", NOISE, RATE, format="NIST")
    soundfile.write(root / "d.AIFC", NOISE, RATE, format="AIFF")
    for name in ("no ending", "e.m4a", "f.wrong"):  # by their contents
        (root / name).write_bytes((root / "a.wav").read_bytes())
    encode(root / "g.m4a", "aac")
    encode(root / "h.mp4", "aac")
    (root / "h.mp4").rename(root / "h.unknown")
    for name in ("i.amr", "j.raw", "k.webm"):
        (root / name).write_bytes(b"no sound at all")
    for name in ("notes.txt", "README", "x.dat", ".hidden.wav", "levels.npy"):
        (root / name).write_bytes(b"no sound at all")
    used = ["a.wav", "b.wave", "c.sph", "d.AIFC", "e.m4a", "f.wrong", "no ending"]
    corpus = prepare(Folder(root), RATE, tmp_path / "cache", progress=False)
    assert [u.id for u in corpus.utterances] == sorted([*used, "g.m4a", "h.unknown"])
    assert {skipped.name for skipped in corpus.skipped} == {"i.amr", "j.raw", "k.webm"}

    monkeypatch.setattr(compressed, "find_spec", lambda name: None)
    corpus = prepare(Folder(root), RATE, tmp_path / "other", num_processes=1, progress=False)
    assert [u.id for u in corpus.utterances] == sorted(used)
    named = {skipped.name: skipped.reason for skipped in corpus.skipped}
    for name in ("g.m4a", "h.unknown", "i.amr", "k.webm"):
        assert f"needs PyAV: {install_command('decode')}, or convert it: ffmpeg -i" in named[name]


def test_a_pipe_is_not_opened(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    assert not looks_like_audio(tmp_path / "pipe")
