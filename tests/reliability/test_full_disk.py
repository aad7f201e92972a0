"""A disk that is full, small or gone: the last good file stays, and the message says what to do."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest
import torch

import wavenet
from tests.conftest import TINY
from wavenet.atomic_files import atomic_write, remove_partial_files
from wavenet.checkpoint import CheckpointError
from wavenet.training import LastCheckpoint

pytestmark = pytest.mark.slow

SETTINGS = [*TINY, "trainer.max_steps=4", "save_every_n_steps=2", "trainer.val_check_interval=100", "logger=none"]


@contextmanager
def largest_file(size):
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def hidden(folder):
    return [str(path) for path in folder.rglob(".*")]


def test_what_cannot_be_written_changes_nothing(tmp_path):
    path = tmp_path / "a" / "numbers.txt"
    with atomic_write(path) as beside:
        beside.write_text("good")
    with pytest.raises(OSError, match="File too large"), largest_file(100), atomic_write(path) as beside:
        beside.write_bytes(b"x" * 200)
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "good" and os.listdir(path.parent) == ["numbers.txt"]
    (path.parent / ".killed.partial").write_text("half")
    remove_partial_files(path.parent)
    assert os.listdir(path.parent) == ["numbers.txt"]


def test_training_goes_on_from_the_last_checkpoint_that_fitted(run, in_tmp, speech):
    run("train", *SETTINGS, "dataset=folder", f"dataset.root={speech}", "run_dir=r")
    checkpoint = in_tmp / "r" / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    with pytest.raises(AssertionError) as stopped, largest_file(20_000):
        run("train", "resume=r", "trainer.max_steps=8")
    message = str(stopped.value)
    assert message.startswith("exit 2") and "Traceback" not in message
    assert f"{checkpoint}: cannot be written: File too large; delete something there, or write elsewhere" in message
    assert "What was saved there before is kept" in message and "resume=" in message
    assert checkpoint.read_bytes() == before and not hidden(in_tmp / "r")
    assert "done     8 steps" in run("train", "resume=r", "trainer.max_steps=8")


@pytest.mark.parametrize("logger", ["none", "csv", "tensorboard"])
@pytest.mark.parametrize("when", ["before", "while training"])
def test_training_on_a_full_disk_and_after_it(run, in_tmp, speech, small_disk, monkeypatch, logger, when):
    settings = ["dataset=folder", f"dataset.root={speech}", f"logger={logger}", "trainer.log_every_n_steps=1"]
    run("train", *SETTINGS, *settings, f"run_dir={small_disk}/r")
    before = (small_disk / "r" / "checkpoints" / "last.ckpt").read_bytes()
    ballast = small_disk / "ballast"

    def fill(*_):
        with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
            for _ in range(2000):
                file.write(b"x" * 1000)

    with monkeypatch.context() as patch, pytest.raises(AssertionError) as stopped:
        if when == "before":
            fill()
        else:
            patch.setattr(LastCheckpoint, "on_train_start", fill)
        run("train", f"resume={small_disk}/r", "trainer.max_steps=8")
    message = str(stopped.value)
    assert message.startswith("exit 2") and "Traceback" not in message, message
    assert "No space left on device; delete something there, or write elsewhere" in message
    assert (small_disk / "r" / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not hidden(small_disk)
    ballast.unlink()
    assert "done     8 steps" in run("train", f"resume={small_disk}/r", "trainer.max_steps=8")


def test_a_run_folder_that_vanishes_is_named_and_not_made_anew(run, in_tmp, speech, monkeypatch):
    given = LastCheckpoint.on_train_batch_end

    def unmounted(self, trainer, *rest):
        if trainer.global_step == 4:
            shutil.rmtree("r")
        given(self, trainer, *rest)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", unmounted)
    with pytest.raises(AssertionError, match=r"exit 2[\s\S]*checkpoints is gone; was a disk unmounted\?"):
        run("train", *SETTINGS, "dataset=folder", f"dataset.root={speech}", "run_dir=r")
    assert not os.path.exists("r")


def test_saved_models_and_sound(small, tmp_path, run, in_tmp, small_disk):
    model, other = small(("ann",)), small(("ann",), residual_channels=300, gate_channels=600)
    folder = wavenet.save(model, small_disk / "model")
    with pytest.raises(CheckpointError, match=r"model: cannot be written \(No space left on device; delete something"):
        wavenet.save(other, folder)
    assert all(torch.equal(a, b) for a, b in zip(wavenet.load(folder).parameters(), model.parameters(), strict=True))
    assert os.listdir(small_disk) == ["model"]
    run("generate", f"checkpoint={folder}", "seconds=0.1", f"output={small_disk}/a.wav")
    before = (small_disk / "a.wav").read_bytes()
    with pytest.raises(
        AssertionError, match=r"exit 2[\s\S]*a.wav: cannot be written \(No space left on device; delete"
    ):
        run("generate", f"checkpoint={folder}", "seconds=400", f"output={small_disk}/a.wav")
    assert (small_disk / "a.wav").read_bytes() == before
    assert sorted(os.listdir(small_disk)) == ["a.wav", "model"]


def test_a_folder_that_may_not_be_written(small, tmp_path):
    """Where the system refuses even root: a file in a folder's place, and /proc."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "model", "/proc/wavenet-model"):
        with pytest.raises(CheckpointError, match=r"cannot be written \((File exists|Not a directory|No such file)"):
            wavenet.save(small(), place)
