import dataclasses
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.data.ramps import LENGTHS, Blocks, ramps
from wavenet.audio import AudioError, Features, FileFeatures
from wavenet.data import Corpus, DatasetError, Skipped, prepare, split
from wavenet.data import add_features as add
from wavenet.data.folder import Folder


def add_features(corpus, features, **options):
    return add(corpus, features, **({"progress": False} | options))


@pytest.fixture
def corpus(tmp_path):
    return ramps(tmp_path)


@pytest.fixture
def extracted(monkeypatch):
    """Return a list to which the length of each waveform is appended when its blocks are computed."""
    calls, original = [], Blocks.extract

    def extract(self, waveform, recording=None):
        calls.append(len(waveform))
        return original(self, waveform, recording)

    monkeypatch.setattr(Blocks, "extract", extract)
    return calls


def kept(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def put(path, frames, channels=2, start=0.0):
    """Write a file of features whose values count up from start, frame by frame; return them."""
    array = start + np.arange(channels * frames, dtype=np.float64).reshape(frames, channels).T
    np.save(path, array)
    return torch.from_numpy(array).float()


def test_the_frames_are_those_of_the_samples(corpus):
    corpus = add_features(corpus, [Blocks(), Blocks("thirds", 30, 3.0)])
    assert [features.name for features in corpus.features] == ["blocks", "thirds"]
    for index, length in enumerate(LENGTHS):
        waveform = corpus.read(index)
        known = corpus.conditions(index)
        assert set(known) == {"speaker", "blocks", "thirds"}
        assert known["speaker"] == str(index)
        for features in corpus.features:
            assert known[features.name].dtype == torch.float32
            assert known[features.name].shape == (2, -(-length // features.hop_length))
            assert torch.equal(known[features.name], features.extract(waveform))


@pytest.mark.parametrize(("start", "stop"), [(0, 20), (0, 21), (120, 123), (280, 300), (280, 301), (240, 900)])
def test_a_range_has_the_same_frames_as_the_whole(corpus, start, stop):
    corpus = add_features(corpus, [Blocks()])
    whole = corpus.conditions(1)["blocks"]
    assert whole.shape == (2, 15)
    expected = [whole[:, min(start // 20 + k, 14)] for k in range(-(-(stop - start) // 20))]
    assert torch.equal(corpus.conditions(1, start, stop)["blocks"], torch.stack(expected, dim=1))


def test_frames_all_beyond_the_end_repeat_the_last(corpus):
    corpus = add_features(corpus, [Blocks()])
    last = corpus.conditions(1)["blocks"][:, -1:]
    assert torch.equal(corpus.conditions(1, 320, 380)["blocks"], last.expand(2, 3))


def test_the_frames_of_a_range_are_contiguous(corpus):
    """So that few pages of a file are read, however many channels there are."""
    corpus = add_features(corpus, [Blocks()])
    stored = np.load(corpus.utterances[2].feature_files["blocks"], mmap_mode="r")
    assert (stored.shape, stored.dtype) == ((2, 50), np.float32)
    assert stored.flags.f_contiguous
    assert corpus.conditions(2, 200, 260)["blocks"].is_contiguous()


@pytest.mark.parametrize(("start", "stop"), [(10, 40), (-20, 40), (40, 40)])
def test_invalid_ranges_are_named(corpus, start, stop):
    corpus = add_features(corpus, [Blocks()])
    with pytest.raises(ValueError, match=rf"samples \[{start}, {stop}\).*multiple of 20, the hop_length of 'blocks'"):
        corpus.conditions(1, start, stop)


def test_without_features_there_are_only_named_conditions(corpus):
    assert corpus.conditions(1, 7, 9) == {"speaker": "1"}
    assert add_features(corpus, []) == corpus


def test_features_are_computed_once(corpus, extracted, tmp_path):
    first = add_features(corpus, [Blocks()])
    assert extracted == list(LENGTHS)
    before = kept(tmp_path)
    assert len(before) == 3
    assert add_features(corpus, [Blocks()]) == first
    assert extracted == list(LENGTHS)
    assert kept(tmp_path) == before


def test_a_changed_setting_is_computed_again(corpus, extracted, tmp_path):
    plain = add_features(corpus, [Blocks()])
    louder = add_features(corpus, [Blocks(scale=2.0)])
    coarser = add_features(corpus, [Blocks(hop_length=40)])
    assert extracted == list(LENGTHS) * 3
    assert len(kept(tmp_path)) == 9
    assert torch.equal(louder.conditions(2)["blocks"], 2 * plain.conditions(2)["blocks"])
    assert torch.equal(coarser.conditions(2)["blocks"][0], plain.conditions(2)["blocks"][0, ::2])


def test_another_class_of_the_same_settings_is_not_mixed_up(corpus):
    @dataclasses.dataclass(frozen=True)
    class Negative(Blocks):
        def extract(self, waveform, recording=None):
            return -super().extract(waveform)

    plain, negative = add_features(corpus, [Blocks()]), add_features(corpus, [Negative()])
    assert torch.equal(negative.conditions(0)["blocks"], -plain.conditions(0)["blocks"])


def test_features_are_added_to_features(corpus, extracted):
    both = add_features(add_features(corpus, [Blocks()]), [Blocks("thirds", 30)])
    assert both == add_features(corpus, [Blocks(), Blocks("thirds", 30)])
    assert len(extracted) == 6


def test_features_of_audio_prepared_again_are_computed_again(tmp_path, speech, extracted):
    at_8, at_16 = (prepare(Folder(speech / "june"), rate, tmp_path, progress=False) for rate in (8000, 16000))
    add_features(at_8, [Blocks()])
    add_features(at_16, [Blocks()])
    assert extracted == [u.num_samples for corpus in (at_8, at_16) for u in corpus.utterances]
    trimmed = prepare(Folder(speech / "june"), 8000, tmp_path, trim_db=20, progress=False)
    done = add_features(trimmed, [Blocks()], trimmed=True)
    assert [done.conditions(i)["blocks"].shape[1] for i in range(4)] == [
        -(-u.num_samples // 20) for u in trimmed.utterances
    ]


def test_an_interrupted_computation_continues(corpus, monkeypatch, tmp_path):
    original, calls = Blocks.extract, []

    def fail_after_two(self, waveform, recording=None):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(waveform))
        return original(self, waveform, recording)

    monkeypatch.setattr(Blocks, "extract", fail_after_two)
    with pytest.raises(KeyboardInterrupt):
        add_features(corpus, [Blocks()])
    before = kept(tmp_path)
    assert len(before) == 2

    def only_the_last(self, waveform, recording=None):
        assert len(waveform) == LENGTHS[-1]
        return original(self, waveform, recording)

    monkeypatch.setattr(Blocks, "extract", only_the_last)
    corpus = add_features(corpus, [Blocks()])
    after = kept(tmp_path)
    assert len(after) == 3
    assert after.items() >= before.items()
    assert torch.equal(corpus.conditions(2)["blocks"], original(Blocks(), corpus.read(2)))


KILLED = """
import os, pickle, sys
from tests.data.ramps import Blocks
from wavenet.data import add_features

os.fsync = lambda file: os._exit(9)
add_features(pickle.loads(bytes.fromhex(sys.argv[1])), [Blocks()], progress=False)
"""


@pytest.mark.slow
def test_a_killed_write_leaves_no_partial_features(corpus, tmp_path):
    command = [sys.executable, "-c", KILLED, pickle.dumps(corpus).hex()]
    assert subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == 9
    assert len(list(tmp_path.glob(".*.partial"))) == 1
    assert kept(tmp_path) == {}
    corpus = add_features(corpus, [Blocks()])
    assert list(tmp_path.glob(".*.partial")) == []
    for index in range(3):
        assert torch.equal(corpus.conditions(index)["blocks"], Blocks().extract(corpus.read(index)))


@pytest.mark.parametrize("damage", [lambda p: os.truncate(p, 100), lambda p: p.write_bytes(b""), lambda p: p.unlink()])
def test_a_damaged_file_is_computed_again(corpus, extracted, tmp_path, damage):
    whole = add_features(corpus, [Blocks()])
    path = whole.utterances[1].feature_files["blocks"]
    saved = path.read_bytes()
    damage(path)
    with pytest.raises(DatasetError, match=rf"{path.name}: the prepared file is (gone|damaged).* start again"):
        whole.conditions(1)
    assert add_features(corpus, [Blocks()]) == whole
    assert extracted == [*LENGTHS, LENGTHS[1]]
    assert path.read_bytes() == saved


@pytest.mark.slow
def test_several_processes_give_the_same(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))  # child processes inherit it
    computed = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        corpus = ramps(folder, LENGTHS * 4)
        for index, utterance in enumerate(corpus.utterances):
            put(folder / f"{index}.npy", -(-utterance.num_samples // 50), 3, index)
        corpus = add_features(corpus, [Blocks(), FileFeatures("own", 3, 50)], num_processes=processes)
        computed.append([corpus.conditions(i) for i in range(12)])
        assert len(list(folder.glob("*-*.npy"))) == 24
    for one, two in zip(*computed, strict=True):
        assert torch.equal(one["blocks"], two["blocks"])
        assert torch.equal(one["own"], two["own"])
    assert not torch.equal(computed[0][0]["own"], computed[0][3]["own"])


def test_concurrent_calls_compute_once(corpus, extracted):
    results = []
    threads = [threading.Thread(target=lambda: results.append(add_features(corpus, [Blocks()]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert results[0] == results[1] == results[2]
    assert extracted == list(LENGTHS)


def test_split_keeps_the_features(tmp_path, speech):
    corpus = prepare(Folder(speech), 8000, tmp_path, progress=False)
    for part in split(add_features(corpus, [Blocks()]), 0.3):
        assert part.features == (Blocks(),)
        for index in range(len(part.utterances)):
            assert torch.equal(part.conditions(index)["blocks"], Blocks().extract(part.read(index)))


def test_features_of_files_are_aligned_with_the_recording(corpus, tmp_path):
    own = FileFeatures("own", 2, 20)
    exact = put(tmp_path / "0.own.npy", 3)
    short = put(tmp_path / "1.npy", 14, start=100)
    put(tmp_path / "2.npy", 7)  # not used, because a file with the features' name exists
    long = put(tmp_path / "2.own.npy", 51, start=200)
    corpus = add_features(corpus, [own])
    assert corpus.skipped == []
    assert torch.equal(corpus.conditions(0)["own"], exact)
    assert torch.equal(corpus.conditions(1)["own"], torch.cat([short, short[:, -1:]], dim=1))
    assert torch.equal(corpus.conditions(2)["own"], long[:, :50])


def test_features_of_files_are_beside_the_recording_not_its_copy(tmp_path, speech):
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        source = speech / "june" / f"june_{number:03d}.flac"
        (tmp_path / "in" / source.name).symlink_to(source)
    corpus = prepare(Folder(tmp_path / "in"), 8000, tmp_path / "cache", progress=False)
    own = FileFeatures("own", 2, 100)
    expected = [
        put(utterance.source.with_suffix(".npy"), own.num_frames(utterance.num_samples), start=1000 * i)
        for i, utterance in enumerate(corpus.utterances)
    ]
    corpus = add_features(corpus, [own])
    assert all(torch.equal(corpus.conditions(i)["own"], expected[i]) for i in range(2))


def test_a_changed_file_is_read_again(corpus, tmp_path):
    for number, length in enumerate(LENGTHS):
        put(tmp_path / f"{number}.npy", -(-length // 20))
    before = add_features(corpus, [FileFeatures("own", 2, 20)])
    changed = put(tmp_path / "1.npy", 15, start=0.5)
    os.utime(tmp_path / "1.npy", ns=(1, 1))
    after = add_features(corpus, [FileFeatures("own", 2, 20)])
    assert torch.equal(after.conditions(1)["own"], changed)
    assert before.utterances[0].feature_files == after.utterances[0].feature_files
    assert before.utterances[1].feature_files != after.utterances[1].feature_files
    named = put(tmp_path / "1.own.npy", 15, start=7)
    os.utime(tmp_path / "1.own.npy", ns=(1, 1))  # of the same size and time as the other one
    assert torch.equal(add_features(corpus, [FileFeatures("own", 2, 20)]).conditions(1)["own"], named)
    (tmp_path / "1.own.npy").unlink()
    (tmp_path / "1.npy").unlink()
    assert [s.name for s in add_features(corpus, [FileFeatures("own", 2, 20)]).skipped] == ["1"]


def test_utterances_without_usable_features_are_skipped_by_name(corpus, tmp_path):
    corpus = ramps(tmp_path, (50, 300, 1000, 100, 100))
    corpus = dataclasses.replace(corpus, skipped=[Skipped("before", "it was broken")])
    put(tmp_path / "1.npy", 17)
    put(tmp_path / "2.npy", 50)
    put(tmp_path / "3.own.npy", 3)
    np.save(tmp_path / "4.npy", np.full((2, 5), np.nan))
    done = add_features(corpus, [FileFeatures("own", 2, 20)])
    assert [u.id for u in done.utterances] == ["2"]
    reasons = {skipped.name: skipped.reason for skipped in done.skipped}
    assert set(reasons) == {"before", "0", "1", "3", "4"}
    assert "0.own.npy: no such file" in reasons["0"] and "0.npy" in reasons["0"]
    assert reasons["1"] == f"{tmp_path}/1.npy: 17 frames of 'own', but 300 samples at a hop_length of 20 have 15"
    assert reasons["3"] == f"{tmp_path}/3.own.npy: 3 frames of 'own', but 100 samples at a hop_length of 20 have 5"
    assert "4.npy: holds NaN" in reasons["4"]
    assert done.conditions(0).keys() == {"speaker", "own"}


def test_nothing_left_is_an_error(corpus):
    with pytest.raises(DatasetError, match=r"none of 3 utterances has all features \(0: .*0\.own\.npy: no such file"):
        add_features(corpus, [FileFeatures("own", 2, 20)])


class Wrong(Blocks):
    frames = torch.zeros(2, 1)

    def extract(self, waveform, recording=None):
        return self.frames


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (torch.zeros(2, 4), r"0\.wav: 4 frames of 'blocks', but 50 samples at a hop_length of 20 have 3"),
        (torch.zeros(3, 3), r"0\.wav: the features 'blocks' are \(3, 3\); they must be \(2, 3\)"),
        (torch.zeros(2, 0), r"are \(2, 0\); they must be \(2, 3\)"),
        (torch.full((2, 3), torch.inf), r"0\.wav: the features 'blocks' hold NaN or infinite numbers"),
    ],
)
def test_computed_features_must_fit_exactly(tmp_path, monkeypatch, frames, reason):
    monkeypatch.setattr(Wrong, "frames", frames)
    with pytest.raises(DatasetError, match=reason):
        add_features(ramps(tmp_path, (50,)), [Wrong()])


def test_wrong_requests_are_named(corpus):
    with pytest.raises(DatasetError, match=r"'own' are read from files.*set preparation\.trim_db=null"):
        add_features(corpus, [FileFeatures("own", 2, 20)], trimmed=True)
    with pytest.raises(DatasetError, match="'ramps' has a condition 'speaker' already; rename"):
        add_features(corpus, [Blocks("speaker")])
    with pytest.raises(DatasetError, match="'ramps' has a condition 'blocks' already; rename"):
        add_features(add_features(corpus, [Blocks()]), [Blocks(scale=2.0)])
    with pytest.raises(DatasetError, match="has a condition 'blocks' already"):
        add_features(corpus, [Blocks(), Blocks(scale=2.0)])

    class Plain(Features):
        name, hop_length, num_channels = "plain", 20, 1

        def extract(self, waveform, recording=None):
            return waveform[None, ::20]

    with pytest.raises(DatasetError, match=r"'plain' \(Plain\) must be a frozen dataclass"):
        add_features(corpus, [Plain()])


def test_nothing_to_do_for_an_empty_corpus():
    assert add_features(Corpus("none", 1000, [], []), [Blocks()]).features == (Blocks(),)


def test_file_features_name_what_is_wrong(tmp_path):
    own = FileFeatures("own", 2, 20)
    with pytest.raises(AudioError) as error:
        own.extract(torch.zeros(40), tmp_path / "x.flac")
    assert str(tmp_path / "x.own.npy") in str(error.value)
    assert str(tmp_path / "x.npy") in str(error.value)
    with pytest.raises(AudioError, match="'own' are read from a file beside the recording"):
        own.extract(torch.zeros(40))
    with pytest.raises(ValueError, match="FileFeatures: hop_length is 0"):
        FileFeatures("own", 2, 0)
    with pytest.raises(ValueError, match="FileFeatures: num_channels is -1"):
        FileFeatures("own", -1, 20)
