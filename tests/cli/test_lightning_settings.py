"""Settings of Lightning's trainer: each works, or is refused with the reason; callbacks and loggers of one's own."""

import inspect
import shutil
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf

from tests.configured import composed
from tests.conftest import TINY
from wavenet.cli.lightning_settings import REFUSED
from wavenet.cli.preflight import check_run
from wavenet.cli.schema import type_of_setting
from wavenet.cli.trainer import _logger
from wavenet.data import SegmentStream
from wavenet.training import EarlyStopping

MODULE = '''
"""Somebody's own callback and logger."""

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import DummyLogger


class Counter(Callback):
    """Counts the steps of a run, also of one that goes on."""

    def __init__(self, path):
        self.path, self.steps = path, 0

    def state_dict(self):
        return {"steps": self.steps, "seen": [1, 2]}

    def load_state_dict(self, state):
        self.steps = state["steps"]

    def on_train_batch_end(self, *args):
        self.steps += 1

    def on_train_end(self, *args):
        with open(self.path, "a") as file:
            file.write(f"{self.steps}\\n")


class Lines(DummyLogger):
    """Takes settings of any name, and keeps them."""

    def __init__(self, path, **others):
        super().__init__()
        self.path, self.others = path, others


class NoCallback:
    """Something else."""
'''
COUNTER = "counter:\n  _target_: mycallbacks.Counter\n  path: steps.txt\n"


@pytest.fixture
def mine(in_tmp):
    """A folder with a callback of one's own, and its YAML."""
    Path("mycallbacks.py").write_text(MODULE)
    Path("conf/callbacks").mkdir(parents=True)
    Path("conf/callbacks/counter.yaml").write_text(COUNTER)
    return in_tmp


@pytest.fixture
def given(speech):
    return [*TINY, "logger=none", "dataset=folder", f"dataset.root={speech}", "run_dir=run"]


def test_every_setting_of_the_trainer_works_or_is_refused():
    known = [name for name in inspect.signature(L.Trainer).parameters if name != "self"]
    both = {name for name in known if name in REFUSED} & {n for n in known if type_of_setting("train", f"trainer.{n}")}
    neither = [name for name in known if name not in REFUSED and type_of_setting("train", f"trainer.{name}") is None]
    assert (both, neither) == (set(), [])


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_setting_has_its_reason(name):
    cfg = composed(*TINY, f"+trainer.{name}=1")
    with pytest.raises(ValueError, match=f"^trainer.{name} is not a setting of a run: ") as error:
        check_run(cfg)
    assert REFUSED[name] in str(error.value)


def test_the_command_line_says_it_of_a_setting_that_the_configs_lack(run):
    with pytest.raises(AssertionError, match=r"train: trainer.max_epochs is not a setting of a run: segments are dra"):
        run("train", "trainer.max_epochs=3")


def test_a_run_ends_when_its_time_is_over_and_goes_on_with_more(run, in_tmp, given):
    long = ["trainer.max_steps=1000000", "trainer.val_check_interval=1000000"]
    output = run("train", *given, *long, "trainer.max_time=00:00:00:01")
    assert "early    trainer.max_time is over; resume=run trainer.max_time=null goes on" in output
    assert "bits per sample on held-out utterances\nlisten" in output
    steps = steps_of("run")
    assert 0 < steps < 1000000
    assert f"done     {steps} steps" in run("train", "resume=run")  # the time is that of all parts of a run
    more = f"trainer.max_steps={steps + 3}"
    assert f"done     {steps + 3} steps" in run("train", "resume=run", "trainer.max_time=null", more)


def steps_of(folder):
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


def test_a_fast_run_tries_everything_and_keeps_nothing(run, in_tmp, given):
    output = run("train", *given[:-1], "trainer.fast_dev_run=true", "logger=tensorboard")
    assert "done     1 steps, " in output and "kept     nothing, as trainer.fast_dev_run asks for" in output
    assert "listen" not in output
    assert {path.name for path in in_tmp.iterdir()} <= {"cache"}


def test_a_fast_run_does_not_go_on_with_another(run, in_tmp, given):
    run("train", *given)
    with pytest.raises(AssertionError, match=r"trainer.fast_dev_run keeps nothing, and resume goes on with a run"):
        run("train", "resume=run", "trainer.fast_dev_run=true")


def test_the_same_batches_come_again_in_every_process():
    streams = [iter(SegmentStream(2, rank, 2, start=4, num_batches=3)) for rank in range(2)]
    batches = [[next(stream) for _ in range(5)] for stream in streams]
    assert batches[0] == [[4, 5], [8, 9], [0, 1], [4, 5], [8, 9]]
    assert batches[1] == [[6, 7], [10, 11], [2, 3], [6, 7], [10, 11]]


def test_a_network_overfits_a_batch(run, in_tmp, given):
    """Its bits on one batch of real speech fall further than any batch's do in a run over all of them."""
    more = ["trainer.max_steps=60", "optimizer.lr=0.03", "trainer.log_every_n_steps=60", "logger=csv", "batch_size=1"]
    fallen = {}
    for batches in (0, 1):
        run("train", *given, *more, f"run_dir=run{batches}", f"trainer.overfit_batches={batches}")
        table = Path(f"run{batches}/csv/metrics.csv").read_text().splitlines()
        row = dict(zip(table[0].split(","), table[1].split(","), strict=True))
        fallen[batches] = float(row["train/bits_per_sample"])
    assert fallen[1] < fallen[0] - 0.5


@pytest.mark.parametrize("name", ["simple", "advanced", "pytorch"])
@pytest.mark.filterwarnings("ignore:The PyTorch Profiler default schedule will be overridden")
def test_a_profile_is_seen(run, in_tmp, given, name):
    output = run("train", *given, f"trainer.profiler={name}")
    assert "profile  run/profile has it all" in output.replace(f"{in_tmp}/", "")
    assert ("run_training_epoch" in output) == (name == "simple")
    seen = "aten::" if name == "pytorch" else "optimizer_step"
    assert seen in "".join(path.read_text() for path in Path("run/profile").glob("*.txt"))
    assert "done     2 steps" in run("train", "resume=run")


def test_other_debugging_settings_are_passed_on(run, in_tmp, given):
    settings = ["detect_anomaly=true", "deterministic=true", "benchmark=false", "inference_mode=false"]
    settings += ["gradient_clip_algorithm=value", "strategy=auto", "num_nodes=1"]
    try:
        assert "done     2 steps" in run("train", *given, *[f"trainer.{setting}" for setting in settings])
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


STOPPING = ["callbacks=early_stopping", "callbacks.early_stopping.patience=2", "trainer.val_check_interval=1"]


def test_a_run_ends_when_its_held_out_bits_no_longer_fall(run, in_tmp, given):
    few = [*STOPPING, "callbacks.early_stopping.min_delta=100", "trainer.max_steps=9"]
    output = run("train", *given, *few)
    assert "early    callbacks.early_stopping: the best held-out " in output
    assert " were not beaten in 2 validations\ndone     3 steps, " in output
    result = output[output.index("done     3 steps") :].splitlines()[0]
    assert result in run("train", "resume=run")  # it has ended, also if it was killed at its end
    settings = OmegaConf.load("run/config.yaml").callbacks
    assert settings.early_stopping.patience == 2
    more = ["callbacks=early_stopping", "callbacks.early_stopping.patience=5"]
    assert "done     6 steps, " in run("train", "resume=run", *more, "callbacks.early_stopping.min_delta=100")
    assert "done     9 steps, " in run("train", "resume=run", "callbacks=none")


def test_without_validation_there_is_nothing_to_stop_by(run, in_tmp, given):
    with pytest.raises(AssertionError, match=r"callbacks.early_stopping needs held-out utterances; raise validation_"):
        run("train", *given, "callbacks=early_stopping", "validation_fraction=0")


def test_an_improvement_is_counted_from_the_best_validation():
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    stopping = EarlyStopping(patience=2, min_delta=0.1)
    for bits, stops in ((5.0, False), (4.95, False), (4.8, False), (4.75, False), (4.72, True)):
        trainer.callback_metrics["validation/bits_per_sample"] = torch.tensor(bits)
        stopping.on_validation_end(trainer, L.LightningModule())
        assert trainer.should_stop is stops
    assert stopping.reason == "the best held-out 4.8000 bits per sample were not beaten in 2 validations"


def test_a_callback_of_ones_own_keeps_its_state_once_trusted(run, mine, given):
    run("train", "--config-dir", "conf", *given, "callbacks=[early_stopping,counter]")
    run("train", "resume=run", "trust=[mycallbacks]", "trainer.max_steps=5")
    assert Path("steps.txt").read_text() == "2\n5\n"
    sys.modules.pop("mycallbacks")
    with pytest.raises(AssertionError, match=r"exit 2[\s\S]*code in mycallbacks would be run; if you trust it"):
        run("train", "resume=run", "trainer.max_steps=6")
    assert "mycallbacks" not in sys.modules


def test_two_callbacks_with_one_state_are_refused(run, mine, given):
    again = ["+callbacks.again._target_=mycallbacks.Counter", "+callbacks.again.path=x.txt"]
    with pytest.raises(AssertionError, match=r"train: trainer: Found more than one stateful callback of type `Counter"):
        run("train", "--config-dir", "conf", *given, "callbacks=counter", *again)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lightning.pytorch.callbacks.ModelCheckpoint", "a run takes wavenet.training.callbacks.EarlyStopping, lightn"),
        ("wavenet.training.callbacks.AudioSamples", "a run takes wavenet.training.callbacks.EarlyStopping, lightning"),
        ("mycallbacks.NoCallback", "is not a callback; refused, it must be a subclass of Lightning's Callback"),
        ("mycallbacks.Missing", "Missing"),
    ],
)
def test_what_is_no_callback_for_a_run_is_refused(mine, target, message):
    with pytest.raises(
        ValueError, match=r"^callbacks.x._target_ is .*; it must be an existing class, a callb"
    ) as error:
        check_run(composed(*TINY, f"+callbacks.x._target_={target}"))
    assert message in str(error.value)


def test_the_state_of_early_stopping_is_checked(run, in_tmp, given):
    run("train", *given, *STOPPING)
    path = Path("run/checkpoints/last.ckpt")
    contents = torch.load(path, weights_only=True)
    for state in ({"best": float("nan"), "waited": 0}, {"best": 1.0, "waited": 1.5}, {"best": 1.0, "waited": -1}, 3):
        contents["callbacks"]["EarlyStopping"] = state
        torch.save(contents, path)
        with pytest.raises(AssertionError, match=r"callbacks.EarlyStopping is not the state of a callback that a run"):
            run("train", "resume=run", "trainer.max_steps=3")
    shutil.rmtree("run")


def test_a_logger_of_ones_own_gets_its_own_arguments_only(mine):
    target = ["+logger._target_=mycallbacks.Lines", "+logger.path=x", "+logger.tags={a: b}"]
    logger = _logger(composed(*TINY, "logger=none", *target), purge_step=7)
    assert (logger.path, logger.others) == ("x", {"tags": {"a": "b"}})
