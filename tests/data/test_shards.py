"""A corpus in shards: the same as from the recordings, immutable, resumable, and refused where it does not fit."""

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from wavenet.audio import LogMel, read
from wavenet.data import DatasetError, TrainingSegments, add_features, prepare, split
from wavenet.data.columns import columns_of
from wavenet.data.folder import Folder
from wavenet.data.shards import Shards, prepare_shards, write
from wavenet.data.shards.layout import digest_of

pa = pytest.importorskip("pyarrow")
ipc = pytest.importorskip("pyarrow.ipc")
MEL = LogMel(8000, n_fft=256, hop_length=64, n_mels=10)
SMALL = {"shard_megabytes": 0.15, "progress": False}


@pytest.fixture(scope="module")
def named(speech):
    return Folder(speech, speakers_from_folders=True)


@pytest.fixture(scope="module")
def place(named, tmp_path_factory):
    """A corpus of several shards, with features; not to be changed."""
    folder = tmp_path_factory.mktemp("shards") / "corpus"
    manifest = prepare_shards(named, 8000, folder, [MEL], **SMALL)
    assert len(manifest["shards"]) > 2
    return folder


@pytest.fixture
def copied(place, tmp_path):
    return Path(shutil.copytree(place, tmp_path / "copied"))


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


def opened(place, cache="unused", **settings):
    return prepare(Shards(str(place)), 8000, cache, **settings)


def test_they_hold_what_preparation_from_the_recordings_holds(named, place, tmp_path):
    """Utterances, split, segments and features are equal to the bit."""
    expected = add_features(prepare(named, 8000, tmp_path, progress=False), [MEL], progress=False)
    corpus = add_features(opened(place), [MEL])
    assert (corpus.name, corpus.sample_rate, corpus.origin) == ("folder", 8000, expected.origin)
    assert corpus.seconds == expected.seconds
    assert corpus.trimmed_share == expected.trimmed_share
    assert corpus.values("speaker") == expected.values("speaker") == ["allison", "carlo", "june"]
    for found, original in zip(split(corpus, 0.3), split(expected, 0.3), strict=True):
        assert [u.id for u in found.utterances] == [u.id for u in original.utterances]
        assert [u.conditions for u in found.utterances] == [u.conditions for u in original.utterances]
        segments, same = (TrainingSegments(each, 900, 100, seed=3, margin=70) for each in (found, original))
        for index in range(40):
            assert segments.describe(index) == same.describe(index)
            conditions, others = segments[index]["conditions"], same[index]["conditions"]
            assert torch.equal(segments[index]["waveform"], same[index]["waveform"])
            assert torch.equal(conditions.pop("mel"), others.pop("mel"))
            assert conditions == others
        for number in range(len(found.utterances)):
            assert torch.equal(found.read(number), original.read(number))
            assert torch.equal(found.conditions(number)["mel"], original.conditions(number)["mel"])


def test_the_bytes_depend_on_neither_processes_nor_interruptions(named, place, tmp_path, monkeypatch):
    prepare_shards(named, 8000, tmp_path / "two", [MEL], **SMALL, num_processes=2)
    assert contents(tmp_path / "two") == contents(place)

    written = []

    def interrupted(job):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(job.number)
        return write_shard(job)

    write_shard = write._write_shard
    monkeypatch.setattr(write, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_shards(named, 8000, tmp_path / "cut", [MEL], **SMALL)
    with pytest.raises(DatasetError, match=r"corpus.json: no such file; the corpus is not complete; run the same"):
        opened(tmp_path / "cut")
    monkeypatch.setattr(write, "_write_shard", lambda job: written.append(job.number) or write_shard(job))
    prepare_shards(named, 8000, tmp_path / "cut", [MEL], **SMALL)
    assert written == list(range(len(written)))  # each once
    assert contents(tmp_path / "cut") == contents(place)


def test_a_damaged_part_is_written_again(named, place, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "_complete", lambda *a: {})
    prepare_shards(named, 8000, tmp_path / "x", [MEL], **SMALL)
    monkeypatch.undo()
    shards = sorted((tmp_path / "x").glob("shard-*"))
    parts = sorted((tmp_path / "x").glob("part-*"))
    shards[0].write_bytes(shards[0].read_bytes()[:-1])
    parts[1].write_bytes(b"damaged")
    prepare_shards(named, 8000, tmp_path / "x", [MEL], **SMALL)
    assert contents(tmp_path / "x") == contents(place)


def test_a_corpus_is_never_changed(named, copied, tmp_path):
    before = contents(copied)
    manifest = prepare_shards(named, 8000, copied, [MEL], **SMALL)  # there already
    assert manifest == json.loads((copied / "corpus.json").read_text())
    for other in ({"min_seconds": 0.5}, {"dtype": "float32"}, {"features": []}):
        with pytest.raises(DatasetError, match="holds a corpus of other recordings or settings, which is never"):
            prepare_shards(named, 8000, copied, **{"features": [MEL]} | SMALL | other)
    assert contents(copied) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(DatasetError, match=r"mine: holds other files, such as thesis.txt; choose an empty"):
        prepare_shards(named, 8000, tmp_path / "mine", **SMALL)
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_shards_are_arrow_files_with_samples_and_frames(named, place):
    """Read without this package, by their columns' names."""
    manifest = json.loads((place / "corpus.json").read_text())
    names, samples = [], 0
    for number in range(len(manifest["shards"])):
        with pa.memory_map(str(place / f"shard-{number:05d}.arrow")) as file:
            batch = ipc.open_file(file).read_all()
        names += batch["id"].to_pylist()
        lengths = [len(each) for each in batch["samples"].to_pylist()]
        samples += sum(lengths)
        frames = [len(each) // 10 for each in batch["feature.mel"].to_pylist()]
        assert frames == [-(-length // 64) for length in lengths]
    assert names == sorted(u.id for u in named.scan().utterances)
    assert samples == manifest["samples"]


def test_float32_samples_are_kept_as_they_are(named, tmp_path):
    prepare_shards(named, 16000, tmp_path / "f", dtype="float32", **SMALL)
    corpus = prepare(Shards(str(tmp_path / "f")), 16000, "unused")
    for number, utterance in enumerate(sorted(named.scan().utterances, key=lambda each: each.id)):
        assert torch.equal(corpus.read(number), read(utterance.path)[0])


def test_what_cannot_be_used_is_skipped_and_listed(speech, tmp_path):
    root = Path(shutil.copytree(speech, tmp_path / "some"))
    (root / "june" / "june_002.flac").write_bytes(b"fLaC and nothing else")
    (root / "june" / "june_009.flac").symlink_to(root / "gone.flac")
    manifest = prepare_shards(Folder(root), 8000, tmp_path / "x", **SMALL)
    assert manifest["utterances"] == 11
    lines = (tmp_path / "x" / "skipped.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in sorted(lines)] == ["june/june_002.flac", "june/june_009.flac"]
    assert sorted(each.name for each in opened(tmp_path / "x").skipped) == ["june/june_002.flac", "june/june_009.flac"]
    with pytest.raises(DatasetError, match="none of 12 recordings can be used"):
        prepare_shards(Folder(speech), 8000, tmp_path / "none", min_seconds=1000, **SMALL)
    with pytest.raises(DatasetError, match=r"corpus.json: no such file"):
        opened(tmp_path / "none")


def test_another_rate_or_preparation_is_refused(place):
    for rate, settings, message in (
        (16000, {}, "has 8000 Hz, and 16000 Hz are needed; give model.sample_rate=8000, or prepare it again"),
        (8000, {"trim_db": 40}, "was prepared with trim_db=None, and preparation.trim_db is 40"),
        (8000, {"min_seconds": 3}, "was prepared with min_seconds=0.1, and preparation.min_seconds is 3"),
    ):
        with pytest.raises(DatasetError, match=message):
            prepare(Shards(str(place)), rate, "unused", **settings)


def test_other_features_are_refused(place):
    corpus = opened(place)
    with pytest.raises(DatasetError, match=r"has other features 'mel': n_mels is 10, not 12; .*; prepare it again by"):
        add_features(corpus, [dataclasses.replace(MEL, n_mels=12)])
    with pytest.raises(DatasetError, match=r"has no features 'pitch', which .* \(it has mel\)"):
        add_features(corpus, [dataclasses.replace(MEL, name="pitch")])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "corpus.json").unlink(), r"corpus.json: no such file; there is no corpus"),
        (lambda f: (f / "corpus.json").write_text("{"), r"corpus.json: is not JSON"),
        (lambda f: (f / "corpus.json").write_text("[]"), r"corpus.json: is not a corpus of format 1"),
        (lambda f: change(f, samples=7, signed=False), r"corpus.json: was changed after it was written"),
        (lambda f: change(f, shards=3), r"corpus.json: lacks a part, or has one of another type"),
        (lambda f: change(f, utterances=7), r"index.arrow: does not fit 7 utterances"),
        (lambda f: change(f, shards=[{"bytes": 10}] * 9), r"index.arrow: has rows beyond the end of their shard"),
        (lambda f: change(f, shards=[]), r"index.arrow: names shards that are not in corpus.json"),
        (lambda f: (f / "index.arrow").unlink(), r"index.arrow: no such file; copy the corpus again"),
        (lambda f: cut(f / "index.arrow"), r"index.arrow: has \d+ bytes instead of \d+"),
        (lambda f: scramble(f / "index.arrow"), r"index.arrow: not readable as an index"),
    ],
)
def test_a_damaged_corpus_is_refused_when_it_is_opened(copied, damage, message):
    damage(copied)
    with pytest.raises(DatasetError, match=message) as error:
        opened(copied)
    assert "\n" not in str(error.value)


def change(folder, signed=True, **values):
    manifest = json.loads((folder / "corpus.json").read_text()) | values
    if signed:
        manifest["digest"] = digest_of(manifest)
    (folder / "corpus.json").write_text(json.dumps(manifest))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def scramble(path):
    path.write_bytes(b"ARROW1\0\0" + os.urandom(path.stat().st_size - 8))


def test_a_shard_that_is_gone_or_cut_off_is_named(copied):
    corpus = opened(copied)
    last = max(copied.glob("shard-*"))
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(DatasetError, match=rf"{last.name}: is damaged, it ends before byte \d+"):
        corpus.read(len(corpus.utterances) - 1)
    first = min(copied.glob("shard-*"))
    first.unlink()
    with pytest.raises(DatasetError, match=rf"{first.name}: No such file or directory; check that its disk is mounted"):
        corpus.read(0)


def test_it_is_read_by_other_processes(place):
    """Pickled, as loader processes get it; a file that is open in this process is opened again."""
    corpus, _ = split(opened(place), 0.3)
    corpus.read(0)
    again = pickle.loads(pickle.dumps(corpus))
    assert [u.id for u in again.utterances] == [u.id for u in corpus.utterances]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (other,) = pool.map(corpus.read, [2])
    assert torch.equal(other, corpus.read(2))


def open_files():
    folder = "/proc/self/fd"
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # of another thread, or this list's own
            yield os.readlink(f"{folder}/{name}")


def test_many_shards_are_read_with_few_open_files(place, tmp_path, monkeypatch):
    monkeypatch.setattr("wavenet.data.shards.utterances._OPEN_FILES", 2)
    folder = shutil.copytree(place, tmp_path / "corpus")
    corpus = opened(folder)
    for _ in range(2):
        for number in range(len(corpus.utterances)):
            corpus.read(number, 0, 10)
            assert len([file for file in open_files() if file.startswith(str(folder))]) <= 2


def test_columns_are_those_of_the_objects(place):
    """The columns of the index, and of a selection, against those computed from its utterances one by one."""
    corpus = opened(place)
    for some in (corpus, corpus.select(np.array([5, 2, 9, 2]))):
        found, expected = some.columns, columns_of(some.utterances)
        for name in ("lengths", "source_seconds", "held_out", "hashes"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
        assert found.by("speaker").present() == expected.by("speaker").present()
        assert np.array_equal(found.chosen(0.3), expected.chosen(0.3))
