"""Caches on faulty disks: full, missing, not writable, damaged, shared, or interrupted."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import ROOT
from wavenet.audio import LogMel
from wavenet.data import DatasetError, Scan, Utterance, add_features, prepare
from wavenet.data.folder import Folder
from wavenet.data.process_pool import run_jobs, usable_cores

pytestmark = pytest.mark.slow

RATE = 8000


def tones(folder, count, seconds=0.2):
    """Write recordings that all differ; return their folder."""
    folder.mkdir()
    for number in range(count):
        time = np.arange(round(seconds * RATE)) / RATE
        soundfile.write(folder / f"{number:02d}.wav", 0.3 * np.sin(2 * np.pi * (300 + 10 * number) * time), RATE)
    return folder


def prepared(source, cache):
    return prepare(Folder(source), RATE, cache, progress=False)


def contents(cache):
    """Return the content of all files in a cache by name, except locks."""
    return {path.name: path.read_bytes() for path in Path(cache).rglob("*") if path.is_file() and path.name != ".lock"}


@contextmanager
def full_beyond(num_bytes):
    """Limit the size of written files, as on a disk with little space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_keeps_what_was_prepared(tmp_path):
    source = tones(tmp_path / "in", 4)
    soundfile.write(source / "02.wav", 0.3 * np.sin(np.arange(8 * RATE)), RATE)
    with full_beyond(50_000), pytest.raises(DatasetError) as error:
        prepared(source, tmp_path / "cache")
    assert "02.wav-" in str(error.value)
    assert "cannot be written (File too large; delete something there, or write elsewhere); " in str(error.value)
    assert str(error.value).endswith("preparation.cache_dir sets the folder")
    kept = contents(tmp_path / "cache")
    assert [name[:6] for name in sorted(kept)] == ["00.wav", "01.wav"]  # complete files, no partial ones
    assert prepared(source, tmp_path / "cache").seconds == pytest.approx(8.6)
    assert contents(tmp_path / "cache").items() > kept.items()


def test_a_table_that_cannot_be_written_leaves_the_last_one(tmp_path):
    source = tones(tmp_path / "in", 30, seconds=0.1)
    prepared(source, tmp_path / "cache")
    table = tmp_path / "cache" / f"folder-{RATE}Hz" / "table.json"
    before = table.read_bytes()
    soundfile.write(source / "new.wav", 0.3 * np.cos(np.arange(800)), RATE)
    with full_beyond(2000), pytest.raises(DatasetError, match=r"cannot be written \(File too large; delete something"):
        prepared(source, tmp_path / "cache")
    assert table.read_bytes() == before
    assert not list(table.parent.glob(".*.partial"))
    assert len(prepared(source, tmp_path / "cache").utterances) == 31


def test_features_on_a_full_disk(tmp_path):
    corpus = prepared(tones(tmp_path / "in", 3), tmp_path / "cache")
    before = contents(tmp_path / "cache")
    with full_beyond(1000), pytest.raises(DatasetError, match=r"features cannot be written \(File too large; delete"):
        add_features(corpus, [LogMel(RATE)], progress=False)
    assert contents(tmp_path / "cache") == before
    assert len(add_features(corpus, [LogMel(RATE)], progress=False).utterances) == 3


def test_a_small_disk_that_is_full(tmp_path):
    """As above on a disk of one megabyte, where mounting is permitted."""
    source = tones(tmp_path / "in", 4, seconds=30)
    (tmp_path / "disk").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "disk")]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device; delete something there"):
            prepared(source, tmp_path / "disk")
        assert len(contents(tmp_path / "disk")) == 2
        (source / "02.wav").unlink()
        (source / "03.wav").unlink()
        assert len(prepared(source, tmp_path / "disk").utterances) == 2
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.mark.parametrize("damage", [lambda p: os.truncate(p, 1000), lambda p: p.write_bytes(b""), lambda p: p.unlink()])
@pytest.mark.parametrize("with_table", [True, False])
def test_damaged_prepared_audio_is_prepared_again(tmp_path, damage, with_table):
    source, cache = tones(tmp_path / "in", 3), tmp_path / "cache"
    corpus, before = prepared(source, cache), contents(cache)
    damage(corpus.utterances[1].path)
    with pytest.raises(DatasetError, match=r"01\.wav-.*: the prepared file is (gone|damaged).* start again"):
        corpus.read(1)
    if not with_table:
        (cache / f"folder-{RATE}Hz" / "table.json").unlink()
    assert prepared(source, cache) == corpus
    assert contents(cache) == before


def test_a_missing_cache_is_reported_and_prepared_again(tmp_path):
    source, cache = tones(tmp_path / "in", 3), tmp_path / "cache"
    corpus = add_features(prepared(source, cache), [LogMel(RATE)], progress=False)
    before = contents(cache)
    cache.rename(tmp_path / "away")
    for read in (corpus.read, corpus.conditions):
        with pytest.raises(DatasetError, match="the prepared file is gone; check that its disk is mounted"):
            read(0)
    assert add_features(prepared(source, cache), [LogMel(RATE)], progress=False) == corpus
    assert contents(cache) == before


def test_recordings_that_are_deleted_meanwhile_are_named(tmp_path):
    source = tones(tmp_path / "in", 4)

    class Vanishing:
        name = "vanishing"

        def scan(self):
            utterances = [Utterance(path.name, path, {}) for path in sorted(source.iterdir())]
            (source / "02.wav").unlink()
            return Scan(utterances)

    corpus = prepare(Vanishing(), RATE, tmp_path / "cache", progress=False)
    assert [u.id for u in corpus.utterances] == ["00.wav", "01.wav", "03.wav"]
    assert [str(s) for s in corpus.skipped] == [f"02.wav: {source}/02.wav: No such file or directory"]


def test_an_unusable_dataset_leaves_a_cache_that_can_be_used_later(tmp_path):
    source = tones(tmp_path / "in", 0)
    (source / "x.wav").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="none of 1 recordings can be used"):
        prepared(source, tmp_path / "cache")
    shutil.copytree(tones(tmp_path / "more", 2), source, dirs_exist_ok=True)
    corpus = prepared(source, tmp_path / "cache")
    assert [len(corpus.utterances), len(corpus.skipped)] == [2, 1]


@pytest.mark.parametrize(
    "table", ["{", "[1]", "null", '{"KEY": 3}', '{"KEY": {"num_samples": 5, "source_seconds": 0.1}}', "\0"]
)
def test_a_malformed_table_is_rebuilt(tmp_path, table):
    source, cache = tones(tmp_path / "in", 2), tmp_path / "cache"
    corpus, before = prepared(source, cache), contents(cache)
    key = corpus.utterances[0].path.stem[-16:]
    assert key in json.loads(before["table.json"])
    (cache / f"folder-{RATE}Hz" / "table.json").write_text(table.replace("KEY", key))
    assert prepared(source, cache) == corpus
    assert contents(cache) == before


def test_another_version_is_never_mixed_in(tmp_path, monkeypatch):
    source = tones(tmp_path / "in", 2)
    now = add_features(prepared(source, tmp_path / "cache"), [LogMel(RATE)], progress=False)
    monkeypatch.setattr(sys.modules[prepare.__module__], "CACHE_VERSION", -1)
    older = add_features(prepared(source, tmp_path / "cache"), [LogMel(RATE)], progress=False)
    monkeypatch.setattr(sys.modules[add_features.__module__], "FEATURES_VERSION", -1)
    oldest = add_features(prepared(source, tmp_path / "cache"), [LogMel(RATE)], progress=False)
    assert {u.path for u in now.utterances}.isdisjoint(u.path for u in older.utterances)
    files = [u.feature_files["mel"] for corpus in (now, older, oldest) for u in corpus.utterances]
    assert len(set(files)) == 6


CHILD = """
import os, signal, sys
from pathlib import Path
from wavenet.audio import LogMel
from wavenet.data import add_features, prepare
from wavenet.data.folder import Folder

source, cache, killed = sys.argv[1:]
if killed:
    left, original = [5], os.fsync
    def fsync(file):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        original(file)
    os.fsync = fsync
print("ready", flush=True)
sys.stdin.readline()
corpus = prepare(Folder(source), 8000, cache, progress=False)
corpus = add_features(corpus, [LogMel(8000)], progress=False)
print(len(corpus.utterances), len(corpus.skipped))
"""


def children(source, cache, count, killed=""):
    """Prepare in several processes at once; return their exit statuses and outputs."""
    command = [sys.executable, "-c", CHILD, str(source), str(cache), killed]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) for _ in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    return [process.returncode for process in processes], outputs


def test_concurrent_and_killed_processes_give_the_same_cache_as_a_single_one(tmp_path):
    source = tones(tmp_path / "in", 20)
    alone = add_features(prepared(source, tmp_path / "alone"), [LogMel(RATE)], progress=False)
    assert children(source, tmp_path / "killed", 1, "killed")[0] == [-signal.SIGKILL]
    folder = tmp_path / "killed" / f"folder-{RATE}Hz"
    assert len(list(folder.glob("*.wav"))) in range(1, 20)
    assert len(list(folder.glob(".*.partial"))) == 1
    assert children(source, tmp_path / "killed", 2) == ([0, 0], ["20 0\n"] * 2)
    for name in ("killed", "alone"):
        corpus = add_features(prepared(source, tmp_path / name), [LogMel(RATE)], progress=False)
        assert [u.num_samples for u in corpus.utterances] == [u.num_samples for u in alone.utterances]
        assert all(torch.equal(corpus.read(i), alone.read(i)) for i in range(20))
    assert contents(tmp_path / "killed") == contents(tmp_path / "alone")


def test_a_killed_process_is_reported_in_one_line():
    with pytest.raises(
        DatasetError, match=r"^reading: a process died at 7 or soon after it, killed .*num_processes=1$"
    ):
        list(run_jobs(os._exit, [7, 8, 9], "reading", 2, progress=False))


@pytest.fixture
def forbidden():
    """A folder in which permissions apply; root drops its privileges for the test."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        tones(folder, 3)
        if os.geteuid() == 0:
            for path in (Path(place), folder, *folder.iterdir()):
                os.chown(path, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            for path in (folder, *folder.iterdir()):
                path.chmod(0o755)


def test_unreadable_files_are_named(forbidden):
    (forbidden / "secret").mkdir()
    shutil.copy(forbidden / "00.wav", forbidden / "secret" / "x.wav")
    (forbidden / "secret").chmod(0)
    (forbidden / "01.wav").chmod(0)
    corpus = prepared(forbidden, forbidden.parent / "cache")
    assert [u.id for u in corpus.utterances] == ["00.wav", "02.wav"]
    assert {s.name: s.reason for s in corpus.skipped} == {
        "secret": "the folder cannot be read (Permission denied)",
        "01.wav": f"{forbidden}/01.wav: not readable as audio (Permission denied)",
    }


def test_a_read_only_cache_is_named(forbidden):
    cache = forbidden.parent / "cache"
    prepared(forbidden, cache)
    (cache / f"folder-{RATE}Hz").chmod(0o555)
    shutil.copy(forbidden / "00.wav", forbidden / "new.wav")
    with pytest.raises(DatasetError, match=r"cannot be written \(Permission denied; allow writing there.*cache_dir"):
        prepared(forbidden, cache)
    (cache / f"folder-{RATE}Hz").chmod(0o755)
    assert len(prepared(forbidden, cache).utterances) == 4


def test_a_complete_read_only_cache_is_used(forbidden):
    cache = forbidden.parent / "cache"
    soundfile.write(forbidden / "silent.wav", np.zeros(RATE), RATE)
    mel = LogMel(RATE, 256, 64, n_mels=20)
    first = add_features(prepared(forbidden, cache), [mel], progress=False)
    (cache / f"folder-{RATE}Hz").chmod(0o555)
    (cache / f"folder-{RATE}Hz" / ".lock").chmod(0o444)
    assert add_features(prepared(forbidden, cache), [mel], progress=False) == first
    assert len(first.utterances) == 3 and [s.name for s in first.skipped] == ["silent.wav"]
    (cache / f"folder-{RATE}Hz").chmod(0o755)


@pytest.mark.parametrize("link", ["a", "table.json", ".lock", "."])
def test_nothing_in_a_cache_is_written_or_removed_through_a_link(tmp_path, link):
    source, folder = tmp_path / "in", tmp_path / "cache" / f"folder-{RATE}Hz"
    tones(tmp_path / "tones", 2)
    (tmp_path / "tones").rename(tmp_path / "a")
    source.mkdir()
    (tmp_path / "a").rename(source / "a")
    corpus = prepared(source, tmp_path / "cache")
    corpus.utterances[0].path.write_bytes(b"damaged")
    (folder / link).rename(tmp_path / "elsewhere")
    (folder / link).symlink_to(tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DatasetError, match=r"cannot be written \(is a link, which is not written through; remove it"):
        prepared(source, tmp_path / "cache")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 6),
        ({"cpu.max": "max 100000"}, 6),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 6),
        ({"cpu.max": "1000 100000"}, 1),
    ],
)
def test_preparation_starts_as_many_processes_as_it_may_use(files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert usable_cores(tmp_path) == expected
