"""`init_from`: runs that begin with the weights of a run, a file or a packaged model."""

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import wavenet
from tests.conftest import TINY

SMALL = [setting for setting in TINY if not setting.startswith("model.")]


@pytest.fixture
def given(in_tmp, speech):
    return [*SMALL, "logger=none", "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true"]


@pytest.fixture
def base(run, in_tmp, given):
    """A run of one step, with speakers allison, carlo and june."""
    run("train", *given, *TINY, "run_dir=base", "trainer.max_steps=1", "dataset.licence=CC0-1.0")
    return wavenet.load("base")


def voice(speech, name="ann"):
    """A folder with recordings of one new speaker."""
    folder = Path("voice") / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((speech / "june").iterdir()):
        shutil.copy(path, folder)
    return ["dataset.root=voice"]


def test_a_run_begins_with_another_one_s_weights_and_a_new_speaker_at_the_mean(run, base, given, speech):
    output = run("train", *given, *voice(speech), "init_from=base", "run_dir=new", "optimizer.lr=1e-30")
    assert "from     " in output and "(folder, 1 steps, " in output
    assert "taken    distribution, input (2 tensors), stack (" in output
    assert "speaker  kept allison, carlo, june; new, at the mean of those known: ann\n" in output
    assert "generate.py checkpoint=new speaker=ann\n" in output  # not the first speaker, which is the other model's
    new = wavenet.load("new")
    assert new.conditioners["speaker"].categories == ["allison", "carlo", "june", "ann"]
    for name, value in base.state_dict().items():  # the learning rate leaves them as they were
        ours = new.state_dict()[name]
        if name == "conditioners.speaker.embedding.weight":
            assert torch.allclose(ours[:3], value) and torch.allclose(ours[3], value.mean(dim=0), atol=1e-6)
        else:
            assert torch.allclose(ours, value)
    assert new.kernel_size == base.kernel_size == 2  # the model's, not the configs'


def test_learning_rates_that_are_not_given_are_lower(run, base, given):
    rates = {}
    for name, settings in {"new": [], "low": ["init_from=base"], "own": ["init_from=base", "optimizer.lr=0.5"]}.items():
        run("train", *given, *settings, f"run_dir={name}", "trainer.max_steps=1")
        rates[name] = OmegaConf.load(f"{name}/config.yaml").optimizer.lr
    assert rates == {"new": rates["new"], "low": pytest.approx(0.3 * rates["new"]), "own": 0.5}


def test_the_card_names_the_model_that_was_begun_with_and_its_licence(run, base, given, speech):
    run("train", *given, *voice(speech), "init_from=base", "run_dir=new")
    run("train", "resume=new", "trainer.max_steps=3")
    metadata = wavenet.load("new").metadata
    assert metadata["base"] == {"name": "base", "data": "folder", "steps": 1}
    assert [licence["name"] for licence in metadata["data"]["licences"]] == ["unknown", "CC0-1.0"]
    wavenet.save(wavenet.load("new"), "saved")
    card = Path("saved/README.md").read_text()
    assert "Its weights began as those of base, which was trained on the dataset folder." in card


def test_a_frozen_part_stays_and_the_run_resumes_to_the_bit(run, base, given, speech):
    settings = [*given, *voice(speech), "init_from=base", "freeze=[stack,conditioners.speaker]", "optimizer.lr=0.01"]
    output = run("train", *settings, "run_dir=whole", "trainer.max_steps=4")
    assert "frozen   stack, conditioners.speaker\n" in output
    run("train", *settings, "run_dir=part", "trainer.max_steps=2", "optimizer.schedule=constant")
    run("train", *settings, "run_dir=full", "trainer.max_steps=4", "optimizer.schedule=constant")
    run("train", "resume=part", "trainer.max_steps=4")
    full, part = (torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True) for name in ("full", "part"))
    for name, value in full["state_dict"].items():
        assert torch.equal(value, part["state_dict"][name])
    now = wavenet.load("whole").state_dict()
    same = {name for name, value in base.state_dict().items() if torch.equal(value, now[name])}
    assert {name for name in now if name.startswith("stack.")} <= same and "head.1.weight" not in same


def test_conditioners_and_settings_of_the_command_line_go_before_the_model_s(run, base, given):
    more = ["model/conditioners=[gender]", "model.residual_scale=0.9"]
    output = run("train", *SMALL, "logger=none", "init_from=base", "run_dir=new", *more)  # genders of the prompts
    assert "fresh    conditioners.gender\ndropped  conditioners.speaker\n" in output
    new = wavenet.load("new")
    assert list(new.conditioners) == ["gender"] and new.residual_scale == 0.9 and new.kernel_size == 2


def test_with_another_model_what_fits_is_taken(run, base, given):
    wider = [setting for setting in TINY if setting.startswith("model.")] + ["model.skip_channels=16", "model=small"]
    output = run("train", *given, "init_from=base", "run_dir=new", *wider)
    assert "taken    " in output and "fresh    stack (" in output and "dropped  stack (" in output
    assert wavenet.load("new").skip_channels == 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["init_from=nothing"], r"nothing: no such checkpoint; give a run's folder"),
        (["init_from=babel"], r"babel: no such checkpoint; did you mean babble\?"),
        (["init_from=base", "freeze=[stak]"], r"freeze: the model has no weights in 'stak'; did you mean stack\?"),
        (
            ["resume=base", "init_from=babble"],
            r"init_from: resume goes on with the run's own; leave it out, or",
        ),
        (["resume=base", "freeze=[stack]"], r"freeze: resume goes on with the run's own; leave it out, or st"),
    ],
)
def test_what_cannot_be_begun_with_is_refused(run, base, given, settings, message):
    only = [setting for setting in settings if setting.startswith("resume")]
    with pytest.raises(AssertionError, match=rf"exit 2[\s\S]*wavenet train: {message}"):
        run("train", *([] if only else given), *settings, *([] if only else ["run_dir=new"]))
    assert not Path("new").exists()


def test_a_run_that_was_killed_before_it_saved_begins_again_with_the_same_weights(run, base, given, speech):
    run("train", *given, *voice(speech), "init_from=base", "run_dir=new")
    first = torch.load("new/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for name in ("checkpoints", "audio"):
        shutil.rmtree(f"new/{name}")
    run("train", "resume=new")
    again = torch.load("new/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    settings = OmegaConf.load("new/config.yaml")
    settings.init_from = "owner/name"
    for name in ("checkpoints", "audio"):
        shutil.rmtree(f"new/{name}")
    OmegaConf.save(settings, "new/config.yaml")
    with pytest.raises(AssertionError, match=r"init_from is 'owner/name' in the run's config, which is not here, and"):
        run("train", "resume=new")


def test_a_cluster_s_command_goes_on_with_it(run, base, given, speech):
    command = [*given, *voice(speech), "init_from=base", "run_dir=new", "resume=auto"]
    run("train", *command)
    output = run("train", *command, "trainer.max_steps=4")
    assert "done     4 steps" in output and "kept     " not in output


def test_a_packaged_model_is_adapted(run, in_tmp, given, speech):
    output = run("train", *given, *voice(speech), "init_from=babble", "run_dir=new", "freeze=[stack]")
    assert "from     babble (prompts, " in output and "new, at the mean of those known: ann" in output
