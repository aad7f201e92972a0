import json
import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import PROMPTS
from wavenet.audio import LogMel
from wavenet.data import Corpus, DatasetError, add_features, prepare, split
from wavenet.data import prepare as prepare_function
from wavenet.data.corpus import Prepared
from wavenet.data.folder import Folder
from wavenet.data.prompts import Prompts

prepare_module = sys.modules[prepare_function.__module__]


def wav_files(cache):
    return sorted(p for p in Path(cache).rglob("*.wav"))


def test_preparation_resamples_and_is_reused(tmp_path, speech, monkeypatch):
    dataset = Folder(speech, speakers_from_folders=True)
    corpus = prepare(dataset, 8000, tmp_path, progress=False)
    assert len(corpus.utterances) == 12
    assert corpus.values("speaker") == ["allison", "carlo", "june"]
    for index, utterance in enumerate(corpus.utterances):
        info = soundfile.info(utterance.path)
        assert (info.samplerate, info.channels, info.frames) == (8000, 1, utterance.num_samples)
        assert corpus.read(index, 100, 300).equal(corpus.read(index)[100:300])
        assert utterance.source == speech / utterance.id
    before = {path: path.stat().st_mtime_ns for path in wav_files(tmp_path)}

    def never(job):
        raise AssertionError(f"{job} was prepared again")

    monkeypatch.setattr(prepare_module, "_prepare_one", never)
    assert prepare(dataset, 8000, tmp_path, progress=False) == corpus
    assert {path: path.stat().st_mtime_ns for path in wav_files(tmp_path)} == before


def test_other_settings_are_never_mixed(tmp_path, speech):
    dataset = Folder(speech)
    plain = prepare(dataset, 8000, tmp_path, progress=False)
    trimmed = prepare(dataset, 8000, tmp_path, trim_db=20, progress=False)
    faster = prepare(dataset, 16000, tmp_path, progress=False)
    assert {u.path for u in plain.utterances}.isdisjoint(u.path for u in trimmed.utterances)
    assert plain.trimmed_share == pytest.approx(0, abs=1e-3)
    assert 0 < trimmed.trimmed_share < 0.5
    assert trimmed.seconds == pytest.approx(plain.seconds * (1 - trimmed.trimmed_share), rel=1e-3)
    assert faster.seconds == pytest.approx(plain.seconds, rel=1e-3)


def test_a_changed_recording_is_prepared_again(tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(PROMPTS / "june" / "june_001.flac", tmp_path / "in" / "x.flac")
    first = prepare(Folder(tmp_path / "in"), 16000, tmp_path / "cache", progress=False)
    shutil.copy(PROMPTS / "carlo" / "carlo_002.flac", tmp_path / "in" / "x.flac")
    second = prepare(Folder(tmp_path / "in"), 16000, tmp_path / "cache", progress=False)
    assert first.utterances[0].path != second.utterances[0].path
    assert not torch.equal(first.read(0)[:1000], second.read(0)[:1000])


def test_an_interrupted_preparation_continues(tmp_path, speech, monkeypatch):
    original, calls = prepare_module._prepare_one, []

    def fail_after_five(job):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(job)
        return original(job)

    monkeypatch.setattr(prepare_module, "_prepare_one", fail_after_five)
    with pytest.raises(KeyboardInterrupt):
        prepare(Folder(speech), 8000, tmp_path, progress=False)
    kept = {path: path.stat().st_mtime_ns for path in wav_files(tmp_path)}
    assert len(kept) == 5
    monkeypatch.setattr(prepare_module, "_prepare_one", original)
    corpus = prepare(Folder(speech), 8000, tmp_path, progress=False)
    assert len(corpus.utterances) == len(wav_files(tmp_path)) == 12
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert corpus == prepare(Folder(speech), 8000, tmp_path, progress=False)
    assert corpus.trimmed_share == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_several_processes_give_the_same(tmp_path, speech):
    one = prepare(Folder(speech), 8000, tmp_path / "one", num_processes=1, progress=False)
    two = prepare(Folder(speech), 8000, tmp_path / "two", num_processes=2, progress=True)
    assert [u.id for u in one.utterances] == [u.id for u in two.utterances]
    assert all(torch.equal(one.read(i), two.read(i)) for i in range(12))


def test_two_preparations_at_once(tmp_path, speech):
    results = []

    def work():
        results.append(prepare(Folder(speech), 8000, tmp_path, progress=False))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert results[0] == results[1] == results[2]
    assert len(wav_files(tmp_path)) == 12


def test_bad_recordings_are_skipped_by_name(tmp_path, speech):
    bad = tmp_path / "in"
    shutil.copytree(speech / "june", bad)
    (bad / "empty.wav").write_bytes(b"")
    (bad / "noise.flac").write_bytes(b"fLaC but not")
    (bad / "folder.wav").mkdir()
    soundfile.write(bad / "short.wav", np.sin(np.arange(100)) * 0.1, 16000)
    soundfile.write(bad / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(bad / "constant.wav", np.full(16000, 0.4), 16000)
    soundfile.write(bad / "offset.wav", 0.4 + np.sin(np.arange(16000)) * 0.1, 16000)  # not bad: it is kept unchanged
    soundfile.write(bad / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(bad / "loud.wav", np.ones(16000) * 3, 16000, subtype="FLOAT")
    (bad / "broken-link.wav").symlink_to(bad / "nowhere.wav")
    for _ in range(2):  # the second time, the good ones come from the table
        corpus = prepare(Folder(bad), 16000, tmp_path / "cache", progress=False)
        assert [u.id for u in corpus.utterances] == [*(f"june_{n:03d}.flac" for n in range(1, 5)), "offset.wav"]
        assert corpus.read(4).mean() == pytest.approx(0.4, abs=1e-3)
        assert len(corpus.skipped) == 8
        named = {skipped.name: skipped.reason for skipped in corpus.skipped}
        assert set(named) == {
            "empty.wav", "noise.flac", "short.wav", "silent.wav", "constant.wav", "nan.wav", "loud.wav",
            "broken-link.wav"
        }  # fmt: skip
        assert "not readable" in named["empty.wav"]
        assert "too short (0.006 s" in named["short.wav"]
        assert "silent" in named["silent.wav"]
        assert "silent (apart from a constant" in named["constant.wav"]
        assert "NaN" in named["nan.wav"]
        assert "reach 3" in named["loud.wav"]
        assert "No such file" in named["broken-link.wav"]


ODD_NAMES = [
    b"two\nlines",
    b"caf\xe9",
    "Zoë\u2028".encode(),
    b"x" * 251,
    "é".encode() * 125,
    b"-rf",
    b"a b",
    b"a_b",
    b"A b",
]


def test_any_file_name_is_accepted(tmp_path):
    for number, name in enumerate(ODD_NAMES):
        folder = os.path.join(os.fsencode(tmp_path), b"in", name)
        os.makedirs(folder)
        for end in (b".wav", b".WAV"):
            path = os.path.join(folder, name[:251] + end)
            soundfile.write(path, 0.3 * np.sin(np.arange(8000) * (number + 1) / 20), 8000, format="WAV")
        Path(os.fsdecode(folder), "bad\n\udcff.wav").write_bytes(b"bad")
    corpus = prepare(Folder(tmp_path / "in", speakers_from_folders=True), 8000, tmp_path / "cache", progress=False)
    assert len(corpus.utterances) == len(wav_files(tmp_path / "cache")) == 2 * len(ODD_NAMES)
    for index, utterance in enumerate(corpus.utterances):
        number = ODD_NAMES.index(os.fsencode(utterance.source.parent.name))
        tone = torch.sin(torch.arange(8000) * (number + 1) / 20)
        torch.testing.assert_close(corpus.read(index), 0.3 * tone, rtol=0, atol=1e-4)
    corpus = add_features(corpus, [LogMel(8000)], progress=False)
    train, held = split(corpus, 0.1)
    assert (len(train.utterances), len(held.utterances)) == (len(ODD_NAMES), len(ODD_NAMES))
    lines = [str(skipped) for skipped in corpus.skipped]
    assert len(lines) == len(ODD_NAMES)
    assert all(line.isprintable() and "bad\\n\\udcff.wav: " in line for line in lines)
    speakers = corpus.values("speaker")
    assert {"two\\nlines", "caf\\udce9", "Zoë", "a b", "a_b", "A b"} < set(speakers)
    assert "".join(speakers).encode()  # a model's config can contain them


def test_a_file_reached_twice_is_used_once(tmp_path, speech):
    """Otherwise it could be in the training and the validation set."""
    shutil.copytree(speech / "june", tmp_path / "in")
    (tmp_path / "in" / "again.flac").symlink_to(tmp_path / "in" / "june_001.flac")
    corpus = prepare(Folder(tmp_path / "in"), 8000, tmp_path / "cache", progress=False)
    assert [u.id for u in corpus.utterances] == ["again.flac", "june_002.flac", "june_003.flac", "june_004.flac"]
    assert [str(s) for s in corpus.skipped] == [
        f"june_001.flac: {tmp_path}/in/june_001.flac: the same file as again.flac"
    ]


@pytest.mark.parametrize("rate", [0, 999, 10**10])
def test_an_implausible_rate_is_refused(tmp_path, speech, rate):
    with pytest.raises(DatasetError, match=f"sample_rate is {rate} Hz; it must be 1000 to 1000000"):
        prepare(Folder(speech), rate, tmp_path, progress=False)
    assert os.listdir(tmp_path) == []


def test_nothing_left_is_an_error(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"none of 1 recordings can be used \(x\.wav: .*not readable"):
        prepare(Folder(tmp_path), 16000, tmp_path / "cache", progress=False)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, speech):
    (tmp_path / "cache").write_text("a file instead of a folder")
    with pytest.raises(DatasetError, match=r"cache/folder-8000Hz: the prepared audio cannot be written .*cache_dir"):
        prepare(Folder(speech), 8000, tmp_path / "cache", progress=False)


def test_a_damaged_table_is_rebuilt(tmp_path, speech):
    corpus = prepare(Folder(speech), 8000, tmp_path, progress=False)
    (tmp_path / "folder-8000Hz" / "table.json").write_text("{")
    assert prepare(Folder(speech), 8000, tmp_path, progress=False) == corpus
    assert len(json.loads((tmp_path / "folder-8000Hz" / "table.json").read_text())) == 12


def test_split_is_deterministic_and_includes_every_speaker(tmp_path):
    corpus = prepare(Prompts(), 16000, tmp_path, progress=False)
    train, held = split(corpus, 0.1)
    assert (len(train.utterances), len(held.utterances)) == (216, 24)
    assert {u.id for u in train.utterances}.isdisjoint(u.id for u in held.utterances)
    assert held.values("speaker") == train.values("speaker") == corpus.values("speaker")
    turned = Corpus(corpus.name, 16000, corpus.utterances[::-1], [])
    assert {u.id for u in split(turned, 0.1)[1].utterances} == {u.id for u in held.utterances}
    assert len({u.conditions["speaker"] for u in held.utterances[:8]}) > 1  # the first utterances are representative


def entries(*counts):
    return [
        Prepared(f"s{s}/{i}", Path("x"), Path("x"), 100, 0.1, {"speaker": f"s{s}"})
        for s, n in enumerate(counts)
        for i in range(n)
    ]


def test_split_of_few_utterances():
    def lengths(*counts, fraction=0.1):
        return tuple(len(part.utterances) for part in split(Corpus("x", 1000, entries(*counts), []), fraction))

    assert lengths(2, 1) == (2, 1)
    assert lengths(5, fraction=0.99) == (1, 4)
    assert lengths(5, fraction=0) == (5, 0)
    with pytest.raises(DatasetError, match="leave none to validate on.*validation_fraction=0"):
        lengths(1, 1, 1)
    assert lengths(5, 1, fraction=1) == (0, 6)
    with pytest.raises(DatasetError, match="validation_fraction is 1.5; it must be from 0 to 1"):
        lengths(5, fraction=1.5)


def test_a_missing_condition_is_named():
    corpus = Corpus("x", 1000, entries(2), [])
    with pytest.raises(DatasetError, match="dataset 'x' has no language for s0/0; it has speaker"):
        corpus.values("language")


def test_no_temporary_files_stay(tmp_path, speech):
    prepare(Folder(speech), 8000, tmp_path, progress=False)
    hidden = [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith(".")]
    assert hidden in ([], [".lock"])
