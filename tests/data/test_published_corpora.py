"""Corpora with published lists: who is held out, what is left out, and how a recording is scaled."""

import shutil
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from tests.data.layouts import DIGITS, LAYOUTS, beethoven, libritts, speechcommands, youtubemix
from wavenet.audio import stretched
from wavenet.data import Corpus, DatasetError, Utterance, prepare, split
from wavenet.data.beethoven import Beethoven
from wavenet.data.corpus import Prepared
from wavenet.data.libritts import LibriTTS
from wavenet.data.speechcommands import SpeechCommands
from wavenet.data.youtubemix import YouTubeMix


def halves(dataset):
    """Return the ids of those that are trained on and of those that are held out."""
    utterances = dataset.scan().utterances
    assert all(isinstance(u.held_out, bool) for u in utterances)
    return ({u.id for u in utterances if not u.held_out}, {u.id for u in utterances if u.held_out})


def test_sc09_is_split_by_its_own_lists(tmp_path):
    root = speechcommands(tmp_path)
    train, held_out = halves(SpeechCommands(root))
    assert train == {f"{digit}/0a7c2a8d_nohash_0" for digit in DIGITS}
    assert held_out == {f"{digit}/1b88bf70_nohash_0" for digit in DIGITS}
    again, tested = halves(SpeechCommands(root / "SpeechCommands" / "speech_commands_v0.02", held_out="test"))
    assert again == train and tested == {f"{digit}/2c6d3924_nohash_0" for digit in DIGITS}
    utterance = SpeechCommands(root).scan().utterances[0]
    assert utterance.conditions == {"speaker": "0a7c2a8d", "word": "zero"} and utterance.stretch


def test_a_list_of_sc09_with_a_recording_that_is_missing(tmp_path):
    folder = speechcommands(tmp_path) / "SpeechCommands" / "speech_commands_v0.02"
    (folder / "six" / "1b88bf70_nohash_0.wav").unlink()
    (skipped,) = SpeechCommands(tmp_path).scan().skipped
    assert str(skipped).startswith("six/1b88bf70_nohash_0.wav: is in validation_list.txt, but there is no such file")
    (folder / "testing_list.txt").write_text("yes/2c6d3924_nohash_0.wav\n")
    with pytest.raises(DatasetError, match=r"testing_list\.txt: names no recording of a digit"):
        SpeechCommands(tmp_path).scan()
    (folder / "validation_list.txt").unlink()
    with pytest.raises(DatasetError, match=r"validation_list\.txt: cannot be read .*extract the archive again"):
        SpeechCommands(tmp_path).scan()


def test_libritts_is_split_by_subset_or_by_speaker(tmp_path):
    root = libritts(tmp_path)
    train, held_out = halves(LibriTTS(root))
    assert {name.split("/")[0] for name in train} == {"train-clean-100"} and len(train) == 4
    assert {name.split("/")[0] for name in held_out} == {"dev-clean"} and len(held_out) == 4
    assert {u.conditions["speaker"] for u in LibriTTS(root).scan().utterances} == {"103", "1034", "84", "174"}
    own = LibriTTS(root / "LibriTTS", held_out_subsets=[]).scan().utterances
    assert {u.id for u in own} == train and {u.held_out for u in own} == {None}
    assert halves(LibriTTS(root, [], ["test-clean"]))[0] == set()


@pytest.mark.parametrize(
    ("subsets", "held_out", "message"),
    [
        (["train-clean-10"], [], "there is no 'train-clean-10'; LibriTTS has train-clean-100, "),
        (["dev-clean"], ["dev-clean"], "'dev-clean' is named twice in subsets and held_out_subsets"),
        ([], [], r"dataset\.subsets is \[\]; name at least one"),
    ],
)
def test_subsets_that_cannot_be_used(tmp_path, subsets, held_out, message):
    with pytest.raises(DatasetError, match=message):
        LibriTTS(tmp_path, subsets, held_out)


def test_beethoven_is_split_by_number(tmp_path):
    root = beethoven(tmp_path)
    assert halves(Beethoven(root)) == ({"0", "1", "3807"}, {"3808", "4067"})
    assert halves(Beethoven(root / "beethoven", "test")) == ({"0", "1", "3807"}, {"4068", "4327"})
    for name in ("4328", "007", "sonata"):
        shutil.copy(root / "beethoven" / "0.wav", root / "beethoven" / f"{name}.wav")
    skipped = Beethoven(root).scan().skipped
    assert sorted(s.name for s in skipped) == ["007.wav", "4328.wav", "sonata.wav"]
    assert "not one of 0.wav to 4327.wav" in skipped[0].reason


def test_youtubemix_is_split_in_the_natural_order_of_its_names(tmp_path):
    root = youtubemix(tmp_path)
    train, held_out = halves(YouTubeMix(root))
    assert train == {f"out{n}" for n in range(212)}
    assert held_out == {f"out{n}" for n in range(212, 226)}
    assert halves(YouTubeMix(root / "youtube_mix", "test")) == (train, {f"out{n}" for n in range(226, 241)})
    published = [int(ratio * 241) for ratio in (0.88, 0.88 + (1 - 0.88) / 2)]  # as state-spaces/s4 computes it
    assert published == [len(train), len(train) + len(held_out)]
    (root / "youtube_mix" / "out3.wav").unlink()
    with pytest.raises(DatasetError, match="youtube_mix: 240 recordings; the published split is of 241"):
        YouTubeMix(root).scan()


@pytest.mark.parametrize("dataset", [SpeechCommands, Beethoven, YouTubeMix])
def test_another_list_than_the_published_ones(tmp_path, dataset):
    with pytest.raises(DatasetError, match=r"dataset\.held_out is 'dev'; it must be validation or test"):
        dataset(tmp_path, held_out="dev")


@pytest.mark.parametrize(
    ("dataset", "fix"),
    [
        (SpeechCommands, "python scripts/train.py dataset=speechcommands dataset.root={} dataset.download=true"),
        (LibriTTS, "python scripts/train.py dataset=libritts dataset.root={} dataset.download=true"),
        (Beethoven, "{}: no beethoven/0.wav and so on there. Unzip beethoven.zip from huggingface.co/datasets"),
        (YouTubeMix, "{}: no youtube_mix/*.wav there. Unzip youtubemix.zip from huggingface.co/datasets"),
    ],
)
def test_a_missing_corpus_names_the_way_to_get_it(tmp_path, dataset, fix):
    with pytest.raises(DatasetError) as error:
        dataset(tmp_path).scan()
    assert fix.format(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("dataset", "name", "layout"),
    [(SpeechCommands, "SPEECHCOMMANDS", "speechcommands"), (LibriTTS, "LIBRITTS", "libritts")],
)
def test_downloads_go_through_torchaudio(tmp_path, monkeypatch, dataset, name, layout):
    """torchaudio's own class is called for the download; here it is replaced by a copy of a corpus."""
    calls = []

    def fetch(root, download, **subset):
        calls.append((root, download, *subset.values()))
        LAYOUTS[layout](tmp_path / "new", *([tuple(subset.values())] if subset else []))

    monkeypatch.setattr(torchaudio.datasets, name, fetch)
    assert dataset(tmp_path / "new", download=True).scan().utterances
    root = str(tmp_path / "new")
    subsets = [("train-clean-100",), ("dev-clean",)] if dataset is LibriTTS else [()]
    assert calls == [(root, True, *subset) for subset in subsets]

    def fail(root, download, **subset):
        raise URLError("no network")

    monkeypatch.setattr(torchaudio.datasets, name, fail)
    with pytest.raises(DatasetError, match=r"the download failed \(.*no network.*run the same command"):
        dataset(tmp_path / "other", download=True).scan()


def test_licences(tmp_path):
    origins = {name: make(tmp_path / name) for name, make in LAYOUTS.items()}
    found = {
        dataset.name: dataset(origins[dataset.name]).scan().origin
        for dataset in (SpeechCommands, LibriTTS, Beethoven, YouTubeMix)
    }
    assert {name: [licence.name for licence in origin.licences] for name, origin in found.items()} == {
        "speechcommands": ["CC-BY-4.0"],
        "libritts": ["CC-BY-4.0"],
        "beethoven": ["unknown"],
        "youtubemix": ["unknown"],
    }
    assert all(licence.attribution for origin in found.values() for licence in origin.licences)
    assert "research use only" in found["youtubemix"].licences[0].attribution


def listed(*held_out):
    return [
        Prepared(str(i), Path("x"), Path("x"), 100, 0.1, {"speaker": "x"}, held_out=value)
        for i, value in enumerate(held_out)
    ]


def ids(corpus, fraction):
    return tuple(sorted(u.id for u in part.utterances) for part in split(corpus, fraction))


def test_published_lists_are_used_whole_whatever_the_fraction():
    corpus = Corpus("x", 1000, listed(False, True, False, True), [])
    assert ids(corpus, 0.1) == ids(corpus, 0.9) == (["0", "2"], ["1", "3"])
    assert ids(corpus, 0) == (["0", "2"], [])  # what is held out is not trained on, even without validation
    assert ids(replace(corpus, utterances=listed(True, True)), 0.1) == ([], ["0", "1"])  # as for an evaluation


def test_lists_that_cannot_be_used():
    with pytest.raises(DatasetError, match="held_out is None for 1 of 3 utterances; its scan.. must state it for all"):
        split(Corpus("x", 1000, listed(False, True, None), []), 0.1)
    nobody = Corpus("x", 1000, listed(False, False), [])
    with pytest.raises(DatasetError, match="none of 2 utterances is in its list of held-out ones"):
        split(nobody, 0.1)
    assert ids(nobody, 0) == (["0", "1"], [])


def test_the_lists_survive_preparation(tmp_path):
    dataset = SpeechCommands(speechcommands(tmp_path))
    for _ in range(2):  # the second time from the cache
        train, held_out = split(prepare(dataset, 8000, tmp_path / "cache", progress=False), 0.1)
        assert {u.conditions["speaker"] for u in train.utterances} == {"0a7c2a8d"}
        assert {u.conditions["speaker"] for u in held_out.utterances} == {"1b88bf70"}


def test_each_recording_is_scaled_by_itself(tmp_path):
    root = speechcommands(tmp_path)
    scaled = prepare(SpeechCommands(root), 16000, tmp_path / "cache", progress=False)
    plain = prepare(SpeechCommands(root, stretch=False), 16000, tmp_path / "cache", progress=False)
    again = prepare(SpeechCommands(root), 16000, tmp_path / "cache", progress=False)
    assert len(scaled.utterances) == len(plain.utterances) == 20
    assert scaled == again
    for index, utterance in enumerate(scaled.utterances):
        samples, _ = soundfile.read(utterance.source, dtype="float32")
        torch.testing.assert_close(plain.read(index), torch.from_numpy(samples), rtol=0, atol=0)
        x = scaled.read(index).numpy()
        assert x.min() == -1 and x.max() > 0.9999
        low, high = samples.min(), samples.max()
        np.testing.assert_allclose(x, 2 * (samples - low) / (high - low + 1e-6) - 1, rtol=0, atol=2**-15)


def test_scaling_again_changes_nothing():
    x = stretched(torch.rand(1000) * 0.3 - 0.2)
    torch.testing.assert_close(stretched(x), x, rtol=0, atol=2**-15)


def test_an_utterance_states_no_list_unless_its_dataset_does(tmp_path):
    assert Utterance("a", tmp_path, {}).held_out is None and not Utterance("a", tmp_path, {}).stretch
