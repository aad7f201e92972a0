"""A mix of datasets: each part as it is alone, shares of the training segments, and one list of speakers."""

import itertools
import os
import pickle
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from tests.conftest import PROMPTS
from tests.data.layouts import libritts
from tests.data.ramps import Blocks, ramps
from wavenet.audio import LogMel
from wavenet.data import (
    Corpus,
    DatasetError,
    Licence,
    Mix,
    Origin,
    Part,
    SegmentStream,
    TrainingSegments,
    add_features,
    parts_of,
    prepare,
    shares_of,
    split,
)
from wavenet.data.columns import columns_of
from wavenet.data.folder import Folder
from wavenet.data.libritts import LibriTTS
from wavenet.data.mixed import join
from wavenet.data.shards import Shards, prepare_shards
from wavenet.data.shards.utterances import ShardedUtterances
from wavenet.data.vctk import VCTK

MEL = LogMel(8000, n_fft=256, hop_length=64, n_mels=10)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Recordings of june and ivrvoice that are not in `speech`; some are at 8 kHz."""
    root = tmp_path_factory.mktemp("other")
    for speaker, number in itertools.product(("ivrvoice", "june"), range(11, 16)):
        (root / speaker).mkdir(exist_ok=True)
        samples, rate = soundfile.read(PROMPTS / speaker / f"{speaker}_{number:03d}.flac")
        step = 1 + number % 2
        soundfile.write(root / speaker / f"{number}.wav", samples[::step], rate // step)
    return root


@pytest.fixture
def parts(speech, other):
    return {name: Folder(root, speakers_from_folders=True) for name, root in (("mine", speech), ("other", other))}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def prepared(cache):
    return lambda dataset: prepare(dataset, 8000, cache, progress=False)


def ids(corpus, part=None):
    """Return the ids of a corpus; of one part of a mix, as they are in the part."""
    before = "" if part is None else f"{part}/"
    return [each.id.removeprefix(before) for each in corpus.utterances if each.id.startswith(before)]


def mixed(folder, lengths, weights):
    """Return a mix of corpora of ramps, named a, b and so on."""
    corpora = []
    for name, each in zip("abcdef", lengths, strict=False):
        (folder / name).mkdir(exist_ok=True)
        corpora.append(ramps(folder / name, each))
    return join([Part(n, c, w, {}) for n, c, w in zip("abcdef", corpora, weights, strict=False)])


def part_of_each(segments, count):
    return "".join(segments.locate(number)[0].id[0] for number in range(count))


def test_it_has_the_utterances_of_its_parts(parts, prepared):
    corpus = prepared(Mix(parts))
    assert corpus.name == "mix of mine, other" and corpus.sample_rate == 8000
    assert [part.name for part in parts_of(corpus)] == ["mine", "other"]
    mine, other = (prepared(part) for part in parts.values())
    assert parts_of(mine) == ()
    assert ids(corpus) == [f"mine/{each}" for each in ids(mine)] + [f"other/{each}" for each in ids(other)]
    for number, (alone, own) in {0: (mine, 0), 11: (mine, 11), 12: (other, 0), 21: (other, 9)}.items():
        assert torch.equal(corpus.read(number), alone.read(own))
        assert corpus.utterances[number].held_out is None
    assert corpus.utterances[-1].id == "other/june/15.wav"
    with pytest.raises(IndexError):
        corpus.utterances[22]


def test_the_order_of_the_parts_does_not_matter(parts, prepared):
    turned = dict(reversed(parts.items()))
    one, same = (prepared(Mix(each, {"other": 1, "mine": 2})) for each in (parts, turned))
    assert ids(one) == ids(same)
    assert [part.weight for part in parts_of(one)] == [part.weight for part in parts_of(same)] == [2, 1]


def test_a_part_has_the_cache_that_it_has_alone(parts, tmp_path):
    prepare(parts["mine"], 8000, tmp_path, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    corpus = prepare(Mix(parts), 8000, tmp_path, progress=False)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    assert len(before) == 12 and before.items() < after.items() and len(after) == len(corpus.utterances)
    assert os.listdir(tmp_path) == ["folder-8000Hz"]


def test_each_part_is_split_as_it_is_alone(parts, prepared, tmp_path):
    """Also if one has published lists, and another has none."""
    parts["books"] = LibriTTS(libritts(tmp_path))
    corpus = prepared(Mix(parts))
    train, held_out = split(corpus, 0.3)
    for name, part in parts.items():
        own_train, own_held_out = split(prepared(part), 0.3)
        assert ids(train, name) == ids(own_train)
        assert set(ids(held_out, name)) == set(ids(own_held_out))
    order = [each.split("/")[0] for each in ids(held_out)]
    assert set(order) == parts.keys() and order != sorted(order)
    assert held_out.skipped == []
    everything, nothing = split(corpus, 0)
    assert (len(everything.utterances), len(nothing.utterances)) == (12 + 10 + 4, 0)
    assert [len(each.utterances) for each in split(corpus, 1)] == [4, 12 + 10 + 4]  # the lists stay as they are


def test_a_part_of_which_nothing_can_be_held_out_is_named(parts, prepared, tmp_path):
    shutil.copy(PROMPTS / "carlo" / "carlo_020.flac", tmp_path)
    corpus = prepared(Mix(parts | {"single": Folder(tmp_path)}))
    with pytest.raises(DatasetError, match=r"^dataset 'single': 1 utterance\(s\) of 1 speaker\(s\) leave none"):
        split(corpus, 0.1)


def test_speakers_of_the_same_name_are_kept_apart(parts, prepared):
    corpus = prepared(Mix(parts))
    assert corpus.values("speaker") == ["allison", "carlo", "ivrvoice", "mine/june", "other/june"]
    assert corpus.columns.num_speakers == 5
    for utterance in corpus.utterances:
        part, folder, _ = utterance.id.split("/")
        assert utterance.conditions["speaker"] == (f"{part}/june" if folder == "june" else folder)
    assert [part.speakers for part in parts_of(corpus)] == [{"june": "mine/june"}, {"june": "other/june"}]


def test_speakers_of_the_same_name_may_be_one_person(parts, prepared):
    corpus = prepared(Mix(parts, same_speakers=True))
    assert corpus.values("speaker") == ["allison", "carlo", "ivrvoice", "june"]
    assert Counter(each.conditions["speaker"] for each in corpus.utterances)["june"] == 4 + 5


def test_a_made_up_name_that_somebody_has_is_refused(parts, prepared, tmp_path):
    for name in ("a", "b"):
        shutil.copy(PROMPTS / "carlo" / f"carlo_02{'ab'.index(name)}.flac", tmp_path / f"{name}.flac")
    (tmp_path / "index.csv").write_text("file,speaker\na.flac,mine/june\nb.flac,x\n")
    with pytest.raises(DatasetError, match="speaker 'june' of part 'mine' would be called 'mine/june', as somebody"):
        prepared(Mix(parts | {"third": Folder(tmp_path)}))


def test_other_conditions_are_shared_by_their_values(other, prepared, tmp_path):
    tables = {"a": "en\nb.wav,fr", "b": "fr\nb.wav,"}
    for name, languages in tables.items():
        for file in ("a.wav", "b.wav"):
            path = tmp_path / name / file
            path.parent.mkdir(exist_ok=True)
            shutil.copy(other / "june" / f"{11 + 'ab'.index(name) * 2 + 'ab'.index(file[0])}.wav", path)
        (tmp_path / name / "index.csv").write_text(f"file,language\na.wav,{languages}\n")
    corpus = prepared(Mix({name: Folder(tmp_path / name) for name in tables}))
    assert corpus.columns.by("language").present() == ["en", "fr"]
    assert corpus.columns.by("language").codes.tolist() == [0, 1, 1, -1]
    message = r"'mix of a, b' has no language for b/b\.wav; it has speaker; add it for all recordings, or leave"
    with pytest.raises(DatasetError, match=message):
        corpus.values("language")


def test_a_file_in_two_parts_is_refused(parts, speech, prepared, tmp_path):
    shutil.copy(PROMPTS / "carlo" / "carlo_020.flac", tmp_path)
    (tmp_path / "link.flac").symlink_to(speech / "june" / "june_001.flac")
    message = r"parts 'linked' and 'mine' both have .*/june/june_001\.flac, which one could hold out"
    with pytest.raises(DatasetError, match=message):
        prepared(Mix(parts | {"linked": Folder(tmp_path)}))


def test_licences_and_what_is_skipped_are_those_of_all_parts(parts, other, prepared, tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF and nothing else")
    shutil.copy(other / "june" / "11.wav", tmp_path)
    parts |= {"noisy": Folder(tmp_path, licence="CC0-1.0"), "other": Folder(other, licence="CC-BY-4.0")}
    corpus = prepared(Mix(parts))
    assert [each.name for each in corpus.skipped] == ["noisy/x.wav"]
    assert corpus.origin == Origin((Licence("unknown", "the part mine"), Licence("CC0-1.0"), Licence("CC-BY-4.0")))
    assert split(corpus, 0)[0].origin == corpus.origin
    assert prepared(Mix({"mine": parts["mine"]})).origin == Origin()


def test_the_hub_is_that_of_a_single_part(parts, vctk, prepared):
    assert prepared(Mix({"vctk": VCTK(vctk)})).origin.hub == "CSTR-Edinburgh/vctk"
    assert prepared(Mix({"vctk": VCTK(vctk), **parts})).origin.hub is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parts": {}}, r"^Mix: parts is empty; name some on the command line: dataset/parts=\[prompts,folder\]"),
        ({"parts": {"a/b": Folder(".")}}, r"^Mix: parts has the name 'a/b'; a name begins with a letter"),
        ({"parts": {1: Folder(".")}}, r"^Mix: parts has the name 1; "),
        ({"parts": {"a": "folder"}}, r"^Mix: parts.a is 'folder'; it must be a dataset, such as \+dataset@dataset.pa"),
        ({"parts": {"a": Mix({"b": Folder(".")})}}, r"^Mix: parts.a is a mix itself; list its parts instead"),
        ({"weights": {"a": 1}}, r"^Mix: weights is {'a': 1}; it must have a number for each part, not all 0: a, b"),
        ({"weights": {"a": 1, "b": 1, "c": 1}}, r"^Mix: weights is .* for each part, not all 0: a, b"),
        ({"weights": {"a": 0, "b": 0}}, r"^Mix: weights is .* not all 0: a, b"),
        ({"weights": {"a": 1, "b": -1}}, r"^Mix: weights is .*; it must be a dictionary, such as {prompts: 1, fol"),
        ({"same_speakers": "june"}, r"^Mix: same_speakers is 'june'; it must be true or false"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mix(**{"parts": {"a": Folder("."), "b": Folder(".")}} | arguments)


def test_an_error_of_a_part_names_it_and_its_settings(parts, prepared, tmp_path):
    with pytest.raises(DatasetError) as error:
        prepared(Mix(parts | {"books": LibriTTS(tmp_path)}))
    assert str(error.value) == (
        f"part 'books': {tmp_path}: no LibriTTS/train-clean-100 there. Download it with 'python scripts/train.py "
        f"dataset=libritts dataset.root={tmp_path} dataset.download=true', or give dataset.parts.books.root=PATH"
    )
    with pytest.raises(DatasetError, match="a mix has no recordings of its own; use its parts one by one: mine, other"):
        Mix(parts).scan()


def test_features_are_those_of_the_parts(parts, prepared):
    corpus = add_features(prepared(Mix(parts)), [MEL], progress=False)
    other = add_features(prepared(parts["other"]), [MEL], progress=False)
    assert corpus.features == (MEL,)
    assert torch.equal(corpus.conditions(12)["mel"], other.conditions(0)["mel"])
    _, held_out = split(corpus, 0.3)
    with pytest.raises(DatasetError, match="'mix of mine, other': its features are added before it is split"):
        add_features(held_out, [Blocks()])


def test_an_utterance_without_features_is_left_out(tmp_path):
    corpus = mixed(tmp_path, [(50, 300), (40, 200)], [None, None])
    (tmp_path / "b" / "0.wav").write_bytes(b"damaged")
    corpus = add_features(corpus, [Blocks()], progress=False)
    assert ids(corpus) == ["a/0", "a/1", "b/1"]
    assert [each.name for each in corpus.skipped] == ["b/0"]


def test_some_of_its_utterances_are_a_mix_too(parts, prepared):
    corpus = prepared(Mix(parts))
    for numbers in ([3, 14, 20], [20, 3, 14, 3], [], range(22)):
        some = corpus.select(np.array(numbers, np.int64))
        assert ids(some) == [ids(corpus)[number] for number in numbers]
        assert sum(len(part.corpus.utterances) for part in parts_of(some)) == len(set(numbers))
        assert ids(some.select(np.arange(len(numbers))[::-1])) == ids(some)[::-1]
        assert [each.id for each in some.utterances[1:]] == ids(some)[1:]
        for number, utterance in enumerate(some.utterances):
            assert len(some.read(number)) == utterance.num_samples == some.columns.lengths[number]
    again = pickle.loads(pickle.dumps(corpus.select(np.array([20, 3, 14]))))
    assert ids(again) == [ids(corpus)[number] for number in (20, 3, 14)]


def test_columns_are_those_of_the_objects(parts, prepared):
    corpus = prepared(Mix(parts)).select(np.array([20, 3, 14, 12]))
    found = corpus.columns
    assert found.lengths.tolist() == [each.num_samples for each in corpus.utterances]
    assert found.source_seconds.tolist() == [each.original.source_seconds for each in corpus.utterances]
    assert found.held_out.tolist() == [-1] * 4
    speakers = found.by("speaker")
    assert [speakers.value(code, "") for code in speakers.codes] == [
        each.conditions["speaker"] for each in corpus.utterances
    ]
    alone = columns_of([each.original for each in corpus.utterances])
    assert len(set(found.hashes.tolist()) | set(alone.hashes.tolist())) == 8  # of the same id in two parts, another


def test_the_digest_is_of_recordings_and_names(parts, prepared):
    corpus = prepared(Mix(parts))
    same = prepared(Mix(parts, weights={"mine": 1, "other": 3}))
    others = [
        prepared(Mix(parts, same_speakers=True)),
        prepared(Mix({"mine": parts["mine"], "more": parts["other"]})),
        corpus.select(np.arange(21)),
    ]
    assert corpus.utterances.digest == same.utterances.digest
    assert len({each.utterances.digest for each in (corpus, *others)}) == 4


def test_without_weights_the_segments_are_those_of_one_corpus(parts, prepared):
    corpus, _ = split(prepared(Mix(parts)), 0.1)
    listed = [replace(each.original, id=each.id, conditions=each.conditions) for each in corpus.utterances]
    one = Corpus("one", 8000, listed, [])
    segments, same = (TrainingSegments(each, 2000, 500, seed=3) for each in (corpus, one))
    for number in range(50):
        assert segments.describe(number) == same.describe(number)
        assert torch.equal(segments[number]["waveform"], same[number]["waveform"])
    assert shares_of(parts_of(corpus)) == pytest.approx(
        [part.corpus.seconds / corpus.seconds for part in parts_of(corpus)]
    )


@pytest.mark.parametrize("weights", [(1, 3), (1, 1), (0.02, 7.5, 2), (5, 0, 1, 1), (0, 1)])
def test_any_consecutive_segments_have_the_shares_of_the_parts(tmp_path, weights):
    corpus = mixed(tmp_path, [(300, 50), (4000,), (100,), (70,)], weights)
    assert shares_of(parts_of(corpus)) == [weight / sum(weights) for weight in weights]
    found = part_of_each(TrainingSegments(corpus, 100, 64, seed=0), 3000)
    for name, share in zip("abcd", shares_of(parts_of(corpus)), strict=False):
        excess = np.concatenate([[0], np.cumsum([each == name for each in found])]) - share * np.arange(3001)
        for length in (1, 2, 7, 64, 250, 1000):
            off = np.abs(excess[length:] - excess[:-length]).max()
            assert off < 4 and (share > 0 or off == 0)


def test_within_a_part_every_sample_is_about_as_likely(tmp_path):
    lengths, draws = (300, 700, 1000), 4000
    corpus = mixed(tmp_path, [(5000,), lengths], (1, 1))
    counts = np.zeros(sum(lengths))
    firsts = np.cumsum([0, *lengths])
    segments = TrainingSegments(corpus, 50, 64, seed=0)
    for number in range(draws):
        utterance, start, stop = segments.locate(number)
        if utterance.id[0] == "b":
            counts[firsts[int(utterance.id[2:])] :][start:stop] += 1
    expected = draws / 2 * 50 / sum(lengths)
    assert counts[25:-25].mean() / expected == pytest.approx(1, abs=0.1)
    of_each = [counts[first:last].mean() / expected for first, last in itertools.pairwise(firsts)]
    assert of_each == pytest.approx([1, 1, 1], abs=0.1)


def test_a_weighted_stream_is_the_same_for_any_workers_ranks_and_start(tmp_path):
    corpus = mixed(tmp_path, [(300, 50), (4000,)], (1, 3))

    def take(count, workers=0, **options):
        segments = TrainingSegments(corpus, 100, 64, seed=1)
        loader = DataLoader(segments, batch_sampler=SegmentStream(2, **options), num_workers=workers)
        return [batch["waveform"] for batch in itertools.islice(loader, count)]

    alone = take(6)
    for same in (
        take(6, workers=2),
        [*take(4), *take(2, start=8)],
        [
            each
            for pair in zip(take(3, rank=0, world_size=2), take(3, rank=1, world_size=2), strict=True)
            for each in pair
        ],
    ):
        assert all(torch.equal(x, y) for x, y in zip(alone, same, strict=True))
    segments = TrainingSegments(corpus, 100, 64, seed=1)
    assert segments.locate(10**15)[0].id[0] in "ab"
    assert segments.describe(7) == TrainingSegments(corpus, 100, 64, seed=1).describe(7)
    assert part_of_each(segments, 50) == part_of_each(TrainingSegments(corpus, 100, 64, seed=2), 50)
    assert [segments.describe(n) for n in range(9)] != [
        TrainingSegments(corpus, 100, 64, seed=2).describe(n) for n in range(9)
    ]


def test_a_part_without_weight_is_only_validated_on(parts, prepared):
    train, held_out = split(prepared(Mix(parts, {"mine": 1, "other": 0})), 0.3)
    assert {each.split("/")[0] for each in ids(train)} == {"mine"}
    assert {each.split("/")[0] for each in ids(held_out)} == {"mine", "other"}
    assert part_of_each(TrainingSegments(train, 100, 64, seed=0), 50) == "m" * 50


def test_a_part_with_a_weight_and_no_recordings_is_named(parts, prepared, tmp_path):
    books = LibriTTS(libritts(tmp_path), subsets=[])
    assert len(split(prepared(Mix(parts | {"books": books})), 0.3)[0].utterances) == 12 + 10 - 3 - 4
    train, _ = split(prepared(Mix(parts | {"books": books}, {"mine": 1, "other": 1, "books": 2})), 0.3)
    with pytest.raises(ValueError, match="part 'books' of the mix has the weight 2, but no recordings to train on; gi"):
        TrainingSegments(train, 100, 64, seed=0)


def test_the_order_of_the_utterances_does_not_change_the_parts_shares(tmp_path):
    corpus = mixed(tmp_path, [(300, 50), (4000,)], (3, 1))
    turned = corpus.select(np.array([2, 1, 0]))
    assert ids(turned) == ["b/0", "a/1", "a/0"]
    segments, same = (TrainingSegments(each, 100, 64, seed=0) for each in (corpus, turned))
    assert [segments.describe(n) for n in range(50)] == [same.describe(n) for n in range(50)]


@pytest.fixture(scope="module")
def places(speech, other, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for name, root in (("mine", speech), ("other", other)):
        dataset = Folder(root, speakers_from_folders=True)
        prepare_shards(dataset, 8000, folder / name, [MEL], shard_megabytes=0.15, progress=False)
    return folder


@pytest.fixture
def shards(places):
    return {name: Shards(str(places / name)) for name in ("mine", "other")}


@pytest.mark.parametrize("weights", [None, {"mine": 1, "other": 3}])
@pytest.mark.parametrize("both", [False, True])
def test_they_are_the_same_parts_as_files(parts, shards, prepared, weights, both):
    """Split and segments are equal to the bit."""
    mixes = [parts, shards if both else {**parts, "mine": shards["mine"]}]
    corpora = [add_features(prepared(Mix(each, weights)), [MEL], progress=False) for each in mixes]
    for files, same in zip(*(split(corpus, 0.3) for corpus in corpora), strict=True):
        assert ids(files) == ids(same)
        assert [u.conditions for u in files.utterances] == [u.conditions for u in same.utterances]
        assert np.array_equal(files.columns.hashes, same.columns.hashes)
        segments, others = (TrainingSegments(each, 900, 100, seed=3, margin=70) for each in (files, same))
        for number in range(40):
            assert segments.describe(number) == others.describe(number)
            assert torch.equal(segments[number]["waveform"], others[number]["waveform"])
            assert torch.equal(segments[number]["conditions"]["mel"], others[number]["conditions"]["mel"])


def test_the_same_shards_twice_are_refused(shards, prepared):
    with pytest.raises(DatasetError, match=r"parts 'a' and 'b' both have the corpus [0-9a-f]{16}, which one could"):
        prepared(Mix({"a": shards["mine"], "b": shards["mine"]}))


def test_other_features_are_refused_before_any_are_computed(parts, shards, cache, prepared):
    corpus = prepared(Mix({**parts, "other": shards["other"]}))
    before = set(cache.rglob("*.npy"))
    with pytest.raises(DatasetError, match=r"has other features 'mel': n_mels is 10, not 12"):
        add_features(corpus, [replace(MEL, n_mels=12)], progress=False)
    assert set(cache.rglob("*.npy")) == before


def test_each_part_is_read_ahead_by_itself(parts, shards, prepared, monkeypatch):
    wanted = []
    corpus = prepared(Mix({**parts, "other": shards["other"]}))
    assert not corpus.is_remote
    monkeypatch.setattr(ShardedUtterances, "is_remote", property(lambda self: True))
    monkeypatch.setattr(ShardedUtterances, "prefetch", lambda self, ranges, features: wanted.extend(ranges))
    assert corpus.is_remote
    corpus.select(np.array([14, 3, 13])).prefetch([(0, 5, 9), (1, 0, 4), (2, 1, 7)])
    assert wanted == [(1, 5, 9), (0, 1, 7)]
