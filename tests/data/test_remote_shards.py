"""A corpus in a store: prepared into it, opened, trained on and evaluated from it, read in blocks that are kept."""

import pickle
import socket
import time
from contextlib import contextmanager

import pytest
import torch

from tests.conftest import TINY
from wavenet.audio import LogMel
from wavenet.data import DatasetError, TrainingSegments, add_features, prepare
from wavenet.data.folder import Folder
from wavenet.data.segments import WholeUtterances
from wavenet.data.shards import Shards, block_cache, prepare_shards

fs = pytest.importorskip("pyarrow.fs")
moto = pytest.importorskip("moto.server")
MEL = LogMel(8000, n_fft=256, hop_length=64, n_mels=10)
SMALL = {"shard_megabytes": 0.15, "progress": False}


@contextmanager
def served(bucket):
    """A stand-in for S3 on this machine with one bucket; returns the environment variables that lead to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = moto.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    try:
        names = {"access_key": "nobody", "secret_key": "secret"}
        store = fs.S3FileSystem(
            **names, endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True
        )
        store.create_dir(bucket)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.stop()


@pytest.fixture(scope="module")
def bucket():
    """Return a function that names a folder in the bucket of a stand-in for S3."""
    with served("corpora") as variables, pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        yield lambda folder: f"s3://corpora/{folder}"


@pytest.fixture(scope="module")
def named(speech):
    return Folder(speech, speakers_from_folders=True)


@pytest.fixture(scope="module")
def remote(bucket, named):
    """A corpus of several shards in the store, with features; not to be changed."""
    place = bucket("speech")
    manifest = prepare_shards(named, 8000, place, [MEL], **SMALL)
    assert len(manifest["shards"]) > 2
    return place


@pytest.fixture(scope="module")
def local(named, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "corpus"
    prepare_shards(named, 8000, folder, [MEL], **SMALL)
    return folder


def opened(place, cache, **settings):
    return add_features(prepare(Shards(str(place), **settings), 8000, cache), [MEL])


def test_it_has_the_bytes_of_one_on_this_machine(remote, local):
    found, expected = Shards(remote).manifest, Shards(str(local)).manifest
    assert {**found, "plan": 0, "digest": 0} == {**expected, "plan": 0, "digest": 0}
    assert found["digest"] == expected["digest"]


def test_segments_are_those_of_one_on_this_machine(remote, local, tmp_path):
    """Also with workers, and when another process has kept a part of it."""
    ours, theirs = opened(remote, tmp_path), opened(local, tmp_path)
    assert ours.is_remote and not theirs.is_remote
    segments, others = (TrainingSegments(each, 900, 100, seed=3, margin=70) for each in (ours, theirs))
    segments.stride = 4
    for first in range(0, 40, 4):
        for one, other in zip(
            segments.__getitems__(list(range(first, first + 4))),
            map(others.__getitem__, range(first, first + 4)),
            strict=True,
        ):
            assert torch.equal(one["waveform"], other["waveform"])
            assert torch.equal(one["conditions"]["mel"], other["conditions"]["mel"])
    again = pickle.loads(pickle.dumps(segments))
    assert torch.equal(again[7]["waveform"], others[7]["waveform"])
    for one, other in zip(
        map(WholeUtterances(ours).__getitem__, range(3)),
        map(WholeUtterances(theirs).__getitem__, range(3)),
        strict=True,
    ):
        assert torch.equal(one["waveform"], other["waveform"])


class CountedPlace:
    """A place whose opened files count what is read of them."""

    def __init__(self, content, delay=0.0):
        self.content, self.delay, self.requests = content, delay, []

    text = "s3://somewhere"

    def named(self, name):
        return f"{self.text}/{name}"

    def open(self, name):
        return self

    def read_at(self, size, offset):
        self.requests.append((offset, size))
        time.sleep(self.delay)
        return self.content[offset : offset + size]


@pytest.fixture
def content():
    return (
        torch.randint(256, (2_000_000,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        .numpy()
        .tobytes()
    )


def cache_of(place, folder, limit=10**9):
    return block_cache.BlockCache(place, folder, limit, [len(place.content)])


def test_each_block_is_read_once(content, tmp_path):
    place = CountedPlace(content)
    cache = cache_of(place, tmp_path)
    for offset, size in ((0, 10), (5, 100_000), (131_070, 4), (1_999_990, 10), (300_000, 600_000)):
        assert cache.read(0, offset, size) == content[offset : offset + size]
    before = len(place.requests)
    assert cache_of(place, tmp_path).read(0, 250_000, 650_000) == content[250_000:900_000]
    assert len(place.requests) == before  # another process finds them
    starts = [offset for offset, size in place.requests for offset in range(offset, offset + size, block_cache.BLOCK)]
    assert len(starts) == len(set(starts))
    assert len(place.requests) == 4  # neighbours in one request


def test_what_is_announced_is_read_meanwhile_and_once(content, tmp_path):
    place = CountedPlace(content, delay=0.2)
    cache = cache_of(place, tmp_path)
    offsets = range(0, 10 * block_cache.BLOCK, block_cache.BLOCK)
    cache.prefetch((0, offset, 100) for offset in offsets)
    cache.prefetch((0, offset, 100) for offset in offsets)
    begun = time.monotonic()
    for offset in offsets:
        assert cache.read(0, offset, 100) == content[offset : offset + 100]
    assert time.monotonic() - begun < 10 * 0.2  # side by side
    assert len(place.requests) == 10


def test_the_least_recently_used_is_removed(content, tmp_path):
    place = CountedPlace(content)
    cache = cache_of(place, tmp_path, limit=4 * block_cache.BLOCK)
    for block in range(12):
        cache.read(0, 0, 1)  # in use
        cache.read(0, block * block_cache.BLOCK, 1)
        time.sleep(0.01)
    kept = sorted(int(path.name) for path in tmp_path.rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 4 * block_cache.BLOCK
    assert kept[0] == 0 and kept[-1] == 11
    assert place.requests.count((0, block_cache.BLOCK)) == 1


def test_a_damaged_block_is_read_again(content, tmp_path):
    place = CountedPlace(content)
    assert cache_of(place, tmp_path).read(0, 0, 10) == content[:10]
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(b"cut off")
    assert cache_of(place, tmp_path).read(0, 0, 10) == content[:10]
    assert len(place.requests) == 2


def test_a_cache_that_cannot_be_written_is_named_and_done_without(content, tmp_path):
    (tmp_path / "00000").write_text("in the way of the folder")
    cache = cache_of(CountedPlace(content), tmp_path)
    with pytest.warns(UserWarning, match="nothing is kept there.*s3://somewhere again; preparation.cache_dir"):
        assert cache.read(0, 0, 10) == content[:10]
    assert cache.read(0, 0, 10) == content[:10]


def test_a_shard_that_is_cut_off_is_named(content, tmp_path):
    place = CountedPlace(content[:-5])
    cache = block_cache.BlockCache(place, tmp_path, 10**9, [len(content)])
    with pytest.raises(
        DatasetError, match=r"s3://somewhere/shard-00000.arrow: is damaged, it ends before byte 2000000"
    ):
        cache.read(0, 1_999_990, 10)


def test_no_bucket_and_no_server_are_named(bucket, tmp_path):
    nowhere = bucket("nothing").replace("corpora", "no-such-bucket")
    with pytest.raises(DatasetError, match=r"no-such-bucket/nothing"):
        prepare(Shards(nowhere), 8000, tmp_path)
    with pytest.raises(DatasetError, match=r"s3://corpora/nothing/corpus.json: no such file; there is no corpus"):
        prepare(Shards(bucket("nothing")), 8000, tmp_path)


@pytest.mark.slow
def test_it_is_trained_on_resumed_and_evaluated(run, in_tmp, remote, speech):
    """With workers, too; the weights are those of a run on the recordings."""
    settings = [*TINY, "logger=none", "trainer.max_steps=4", "seed=2", "optimizer.schedule=constant"]
    data = ["dataset=shards", f"dataset.root='{remote}'", "run_dir=remote", "resume=auto"]
    output = run("train", *settings, *data, "trainer.max_steps=2")
    assert "data     folder: 3 speaker(s)" in output
    assert "done     4 steps" in run("train", *settings, *data, "num_workers=1")
    folder = ["dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true", "run_dir=local"]
    run("train", *settings, *folder)
    one, other = (torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True) for name in ("remote", "local"))
    assert all(torch.equal(one["state_dict"][name], weight) for name, weight in other["state_dict"].items())
    short = ["sounds.seconds=0", "long_term.utterances=0", "speed.seconds=0"]
    assert "bits/sample" in run("evaluate", "checkpoint=remote", *short)
