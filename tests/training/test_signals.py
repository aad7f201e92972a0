"""A signal saves the run first, and ends it with an exit code for that signal."""

import os
import signal
from types import SimpleNamespace

import pytest

from tests.conftest import TINY
from tests.training.test_training import PARTS, logged, same, weights
from wavenet.training import LastCheckpoint, WaveNetTraining

pytestmark = pytest.mark.slow

SETTINGS = [*TINY, "trainer.max_steps=6", "trainer.val_check_interval=4", "trainer.log_every_n_steps=1", "logger=csv"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, speech):
    return tmp_path_factory.mktemp("undisturbed"), [*SETTINGS, "dataset=folder", f"dataset.root={speech}"]


@pytest.mark.parametrize(
    ("hook", "step", "signum", "saved"),
    [
        ("training_step", 2, signal.SIGTERM, 3),
        ("training_step", 3, signal.SIGUSR1, 4),
        ("validation_step", 4, signal.SIGTERM, 4),
        ("validation_step", 6, signal.SIGINT, 6),
    ],
)
def test_a_signal_saves_and_is_reported(run, in_tmp, undisturbed, hook, step, signum, saved):
    folder, settings = undisturbed
    if not (folder / "run").exists():
        run("train", *settings, f"run_dir={folder / 'run'}")
    original = getattr(WaveNetTraining, hook)
    before = signal.getsignal(signum)

    def terminated(self, *rest):
        if self.trainer.global_step == step:
            os.kill(os.getpid(), signum)
        return original(self, *rest)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError) as stopped:
        patch.setattr(WaveNetTraining, hook, terminated)
        run("train", *settings, "run_dir=cut")
    assert str(stopped.value).startswith(f"exit {128 + signum}\n")
    line = f"stopped  by {signum.name}; saved after {saved} steps; continue with resume=cut"
    assert line in str(stopped.value) and "Traceback" not in str(stopped.value)
    assert signal.getsignal(signum) is before
    assert weights("cut/checkpoints/last.ckpt")["global_step"] == saved

    run("train", "resume=cut")
    for part in PARTS:
        ends = (weights(f"{at}/checkpoints/last.ckpt")[part] for at in (folder / "run", "cut"))
        assert same(*ends), part
    assert logged("cut") == logged(folder / "run")


def test_a_second_signal_kills(run, in_tmp, undisturbed, monkeypatch):
    killed = []
    kill = os.kill

    def twice(self, *_):
        kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(os, "kill", lambda *args: killed.append((args, signal.getsignal(signal.SIGTERM))))
        kill(os.getpid(), signal.SIGTERM)
        raise ValueError("it would be dead")

    monkeypatch.setattr(WaveNetTraining, "training_step", twice)
    with pytest.raises(AssertionError, match="exit 2[\\s\\S]*it would be dead"):
        run("train", *undisturbed[1], "run_dir=cut")
    assert killed == [((os.getpid(), signal.SIGTERM), signal.SIG_DFL)]
    assert not os.path.exists("cut/checkpoints/last.ckpt")


def test_accumulated_steps_are_finished_before_a_signal_stops_the_run(run, in_tmp, undisturbed, monkeypatch):
    original = WaveNetTraining.training_step

    def terminated(self, batch, batch_idx):
        if batch_idx == 3:  # the first half of the second step
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(WaveNetTraining, "training_step", terminated)
    with pytest.raises(AssertionError, match="saved after 2 steps"):
        run("train", *undisturbed[1], "run_dir=cut", "trainer.accumulate_grad_batches=3")
    assert weights("cut/checkpoints/last.ckpt")["global_step"] == 2


def test_a_signal_that_arrives_while_processes_compare_is_not_lost(tmp_path):
    last = LastCheckpoint(tmp_path / "last.ckpt", 10)

    def reduce(own, reduce_op):
        last._signum = signal.SIGTERM  # as its handler does, just now
        return own

    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device="cpu", reduce=reduce))
    assert not last._stops(trainer)
    assert last._stops(trainer)
    assert last._signum == signal.SIGTERM
