"""`wavenet.train`: what the command does, with a model and a dataset that are objects."""

import os
import re
import signal
import warnings
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf

import wavenet
from tests.cli.test_configs import data_for
from tests.configured import CONFIGS, choices, composed
from wavenet.checkpoint import describe
from wavenet.data.folder import Folder
from wavenet.training.checkpointing import SIGNALS

pytestmark = pytest.mark.slow
QUICK = ["samples.final_seconds=0.02", "trainer.limit_val_batches=2"]
SHORT = [f"{name}=0" for name in ("speed.seconds", "sounds.seconds", "long_term.utterances", "resynthesis.utterances")]
SPEAKERS = ("allison", "carlo", "june")


def quick(model, dataset, run_dir, **settings):
    given = {"steps": 2, "batch_size": 2, "segment_length": 400, "logger": "none", "device": "cpu", "settings": QUICK}
    return wavenet.train(model, dataset, run_dir, **given | settings)


def assert_same(model, other):
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture
def folder(in_tmp, speech):
    return Folder(speech, speakers_from_folders=True)


@pytest.mark.parametrize("name", choices("dataset"))
def test_a_dataset_is_described_by_its_arguments(in_tmp, speech, vctk, name):
    """A run's config must name it, so that it can be resumed and evaluated."""
    cfg = composed(f"dataset={name}", *data_for(name, speech, vctk, in_tmp)).dataset
    described = describe(instantiate(cfg, _convert_="all"))
    given = OmegaConf.to_container(cfg, resolve=True)
    assert described.keys() == given.keys()
    for key in given.keys() - {"root", "_target_"}:
        assert (list(described[key]) if isinstance(described[key], tuple) else described[key]) == given[key]


def test_its_run_is_one_like_any_other(run, folder, speech, small):
    model = small(SPEAKERS)
    state = torch.get_rng_state()
    ended = quick(model, folder, "called")
    assert torch.equal(torch.get_rng_state(), state)
    assert ended.folder == Path("called") and ended.bits_per_sample == pytest.approx(5, abs=1)
    assert not model.training and next(model.parameters()).device.type == "cpu"
    trained = wavenet.load("called/checkpoints/last.ckpt").state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert OmegaConf.load("called/config.yaml").dataset.root == str(speech)
    assert "done     4 steps" in run("train", "resume=called", "trainer.max_steps=4")
    assert "allison" in run("evaluate", "checkpoint=called", *SHORT)


def test_it_goes_on_to_the_bit(folder, small):
    first, whole = small(SPEAKERS), small(SPEAKERS)
    whole.load_state_dict(first.state_dict())
    constant = {"settings": [*QUICK, "optimizer.schedule=constant"]}
    quick(whole, folder, "whole", steps=4, **constant)
    quick(first, folder, "part", **constant, resume=True)
    other = small(SPEAKERS)
    quick(other, folder, "part", steps=4, **constant, resume=True)
    assert_same(other, whole)
    with pytest.raises(ValueError, match=r"^model.skip_channels is 12, and 10 in the run .*part, with which res"):
        quick(small(SPEAKERS, skip_channels=12), folder, "part", steps=5, resume=True)
    with pytest.raises(ValueError, match=r"^steps is 3, but .*last.ckpt is from step 4; give a larger"):
        quick(small(SPEAKERS), folder, "part", steps=3, resume=True)


def test_a_folder_is_a_dataset_and_a_trained_model_is_adapted(in_tmp, speech, small):
    model = small()
    first = quick(model, speech, "first")
    second = quick(model, str(speech), "first", lr=1e-4)
    assert (first.folder, second.folder) == (Path("first"), Path("first-2"))
    assert model.metadata["base"] == {"name": "an earlier model", "data": "folder", "steps": 2}
    assert wavenet.load("first-2").metadata["base"] == model.metadata["base"]


def test_the_name_of_a_model_is_that_of_one_to_adapt(folder, speech, small):
    quick(small(SPEAKERS), folder, "base")
    (voice := Path("voice") / "ann").mkdir(parents=True)
    for path in sorted((speech / "june").iterdir()):
        (voice / path.name).write_bytes(path.read_bytes())
    mine = Folder("voice", speakers_from_folders=True)
    ended = quick("base", mine, "run", resume=True)
    model, settings = wavenet.load(ended.folder), OmegaConf.load("run/config.yaml")
    assert model.conditioners["speaker"].categories == [*SPEAKERS, "ann"]
    assert settings.optimizer.lr == pytest.approx(0.3 * composed().optimizer.lr)
    quick("base", mine, "run", steps=3, resume=True)
    again = OmegaConf.load("run/config.yaml")
    assert (again.optimizer, again.trainer.max_steps) == (settings.optimizer, 3)


def test_a_notebook_shows_the_last_samples(folder, small):
    ended = quick(small(SPEAKERS), folder, "<run>")
    assert [path.stem for path in ended.sounds] == [
        f"{name}-{kind}" for name in SPEAKERS for kind in ("generated", "real")
    ]
    shown = ended._repr_html_()
    assert shown.count('<audio controls src="data:audio/wav;base64,UklGR') == 6 and "&lt;run&gt;, " in shown


class Count(Callback):
    def __init__(self):
        self.steps = 0

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]

    def on_train_batch_end(self, *args):
        self.steps += 1


def test_callbacks_are_objects(folder, small):
    count = Count()
    quick(small(SPEAKERS), folder, "run", callbacks=[count], resume=True)
    assert count.steps == 2
    again = Count()
    quick(small(SPEAKERS), folder, "run", callbacks=[again], resume=True, steps=3)
    assert again.steps == 3


class Interrupt(Callback):
    """Interrupts at a hook, so many times, when so many steps were taken."""

    def __init__(self, hook, steps=0, times=1):
        def interrupt(trainer, *args):
            for _ in range(times if trainer.global_step >= steps else 0):
                os.kill(os.getpid(), signal.SIGINT)

        setattr(self, hook, interrupt)


@pytest.fixture
def handlers():
    """The signals' handlers must be the same afterwards."""
    before = [signal.getsignal(each) for each in SIGNALS]
    yield
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize(
    ("hook", "steps", "saved"), [("on_train_batch_end", 3, 3), ("on_validation_batch_start", 4, 4)]
)
def test_an_interrupted_call_is_saved_and_leaves_the_averaged_weights(folder, small, handlers, hook, steps, saved):
    model = small(SPEAKERS)
    with pytest.raises(KeyboardInterrupt, match=f"^SIGINT; saved after {saved} steps; resume=True goes on, .*'run'$"):
        quick(model, folder, "run", steps=6, validate_every=4, callbacks=[Interrupt(hook, steps)])
    assert_same(model, wavenet.load("run/checkpoints/last.ckpt"))
    assert not model.training and model.metadata["training"]["steps"] == saved
    assert quick(small(SPEAKERS), folder, "run", steps=6, resume=True).bits_per_sample is not None


def test_a_second_interrupt_ends_the_call_and_not_the_process(folder, small, handlers):
    with pytest.raises(KeyboardInterrupt, match="^SIGINT; saved after 0 steps; resume=True goes on"):
        quick(small(SPEAKERS), folder, "run", callbacks=[Interrupt("on_train_batch_end", times=2)])
    quick(small(SPEAKERS), folder, "run", resume=True)


def test_an_interrupt_before_the_first_step_is_one(folder, small, handlers):
    """Lightning exits, and ignores all further interrupts."""
    model = small(SPEAKERS)
    with pytest.raises(KeyboardInterrupt):
        quick(model, folder, "run", callbacks=[Interrupt("on_fit_start")])
    assert model.metadata is None
    quick(model, folder, "run", resume=True)


def test_a_run_that_has_taken_all_its_steps_still_has_its_result(folder, small):
    model, again = small(SPEAKERS), small(SPEAKERS)
    first = quick(model, folder, "run")
    second = quick(again, folder, "run", resume=True)
    assert second.bits_per_sample == pytest.approx(first.bits_per_sample, rel=1e-6)
    assert_same(model, again)
    assert quick(small(SPEAKERS), folder, "other", validation_fraction=0).bits_per_sample is None
    assert quick(small(SPEAKERS), folder, "other", validation_fraction=0, resume=True).bits_per_sample is None


class Fails(Callback):
    def on_train_start(self, *args):
        raise ValueError("trainer.max_steps and optimizer.lr are mine")


def test_after_an_error_random_numbers_and_the_model_are_as_before(folder, small):
    model, state = small(SPEAKERS).train(), torch.get_rng_state()
    with pytest.raises(ValueError, match="^steps and optimizer.lr are mine$"):
        quick(model, folder, "run", callbacks=[Fails()], settings=[*QUICK, "optimizer.lr=0.001"])
    assert torch.equal(torch.get_rng_state(), state)
    assert model.metadata is None and model.training


def test_a_model_that_was_trained_before_says_so(folder, small, capsys):
    model = small(SPEAKERS)
    with pytest.raises(ValueError, match="mine"):
        quick(model, folder, "failed", callbacks=[Fails()])
    quick(model, folder, "first")
    assert "from " not in capsys.readouterr().out
    quick(model, folder, "second")
    assert re.search(
        r"\nfrom     the weights that the model has \(folder, 2 steps, [\d.]+ bits", capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "^steps is -1; it must be a whole number from 1 to "),
        ({"steps": "many"}, "^steps is 'many'; it must be a whole number"),
        ({"lr": 0}, "^lr is 0; it must be a number above 0 and below 1, such as 0.001"),
        ({"validate_every": 0.5}, "^validate_every is 0.5; it must be a whole number"),
        ({"device": "cuda"}, "^device is 'cuda'; it must be one of 'auto', 'cpu', 'gpu'$"),
        ({"logger": "x"}, "^logger=x: there is no such option; known are csv, none, tensorboard"),
        ({"logger": None}, "^logger=None: there is no such option"),
        ({"settings": ["trainer.max_steps=0"]}, "^trainer.max_steps is 0; it must be a whole number"),
        (
            {"settings": ["trainer=ddp", "trainer.accelerator=cpu"]},
            "^trainer.strategy is 'ddp', but wavenet.train has one",
        ),
        ({"settings": ["trainer.devices=2"]}, "^trainer.devices is 2, but wavenet.train has one process; train with"),
        ({"settings": ["trainer.num_nodes=2"]}, "^trainer.num_nodes is 2, but"),
        (
            {"settings": ["experiment=vocoder"]},
            "^settings has experiment=vocoder, whose model.*, but the model is an argument of wavenet.train; leave it",
        ),
        (
            {"settings": ["experiment=vctk"]},
            "^settings has experiment=vctk, whose dataset.*, but the dataset is an arg",
        ),
        ({"optimizer": "adam"}, "optimizer=adam: there is no such option; did you mean optimizer=adamw"),
        ({"settings": ["ema_decai=0.9"]}, "ema_decai=0.9: there is no such setting; did you mean ema_decay"),
        ({"resume": True, "run_dir": None}, "resume=True goes on with the run in run_dir; give run_dir=FOLDER"),
        ({"dataset": "nowhere"}, "nowhere: no such folder"),
        (
            {"settings": ["model.kernel_size=3"]},
            "settings has model.kernel_size=3, which is an argument of wavenet.",
        ),
        (
            {"settings": ["dataset=vctk"]},
            "settings has dataset=vctk, which is an argument of wavenet.",
        ),
    ],
)
def test_what_is_wrong_is_a_value_error(folder, small, settings, message):
    given = {"dataset": folder, "run_dir": "run"} | settings
    with pytest.raises(ValueError, match=message):
        quick(small(SPEAKERS), given.pop("dataset"), given.pop("run_dir"), **given)
    assert not Path("run").exists() and not Path("runs").exists()


def test_a_name_that_the_model_does_not_know_is_named(folder, small):
    with pytest.raises(ValueError, match=r"categories is \['ann'\], but the dataset has allison, carlo, june, too"):
        quick(small(("ann",)), folder, "run")


def test_a_class_of_a_notebook_s_cell_is_named(in_tmp, small):
    class Here:
        name = "here"

        def scan(self):
            raise AssertionError

    with pytest.raises(ValueError, match=r"cannot be imported by its name, so it cannot be saved; put the class at"):
        quick(small(), Here(), "run")


def test_a_hydra_application_keeps_its_state(folder, small):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        with warnings.catch_warnings():
            quick(small(SPEAKERS), folder, "run")
        assert compose("generate").num == 1
