"""Runs with each optimizer and schedule: they learn, resume to the bit, and refuse states that are not theirs."""

import copy
import functools

import pytest
import torch

import wavenet
from tests.conftest import TINY
from tests.training.test_training import PARTS, same, weights
from wavenet.checkpoint import CheckpointError
from wavenet.optimizers import SOAP, Muon
from wavenet.optimizers.adjacent import merged
from wavenet.optimizers.roles import HIDDEN, OUTER, VECTOR
from wavenet.training import WaveNetTraining, make_optimizer, read_resumable
from wavenet.training.optimizer import groups_by_role

CHOICES = ("muon", "soap")
RUN = [*TINY, "logger=none", "trainer.val_check_interval=3", "trainer.log_every_n_steps=1"]


def data(speech):
    return ["dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true"]


def test_a_model_that_is_trained_is_adjacent_in_memory_and_otherwise_as_before(small, tmp_path):
    model = small(("ann", "ben"))
    model.head[1].weight = model.head[1].weight.requires_grad_(False)  # frozen
    before = copy.deepcopy(model.state_dict())
    WaveNetTraining(model, lr=0.01)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(merged(learnt)) == 1 and len(merged([model.head[1].weight, *learnt])) == 2
    wavenet.save(model, tmp_path / "saved")
    for other in (model, copy.deepcopy(model), wavenet.load(tmp_path / "saved")):
        assert other.state_dict().keys() == before.keys()
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    WaveNetTraining(model, lr=0.01)  # once more
    assert len(merged(learnt)) == 1


def test_every_parameter_has_one_role(small):
    model = small(("ann", "ben"))
    groups = groups_by_role(model)
    assert [group["role"] for group in groups] == [HIDDEN, OUTER, OUTER, VECTOR]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    hidden, outer, embeddings, vectors = ([names[id(p)] for p in group["params"]] for group in groups)
    assert sorted(hidden + outer + embeddings + vectors) == sorted(names.values())
    assert outer == ["input.conv.weight", "head.3.weight"]
    assert all("embedding" in name for name in embeddings) and len(embeddings) == 2
    assert all(p.dim() == 1 for p in groups[3]["params"]) and "head.1.weight" in hidden
    model.input.requires_grad_(False)
    assert [names[id(p)] for p in groups_by_role(model)[1]["params"]] == ["head.3.weight"]


def test_an_optimizer_gets_the_groups_that_it_takes(small):
    model = small()
    assert len(make_optimizer(functools.partial(Muon, lr=0.02, adamw_lr=0.003), model).param_groups) == 4
    rates = [group["lr"] for group in make_optimizer(functools.partial(Muon, adamw_lr=0.003), model).param_groups]
    assert rates == [0.02, 0.003, 0.003, 0.003]
    decays = [group["weight_decay"] for group in make_optimizer(functools.partial(SOAP), model).param_groups]
    assert decays == [0.01, 0.01, 0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", CHOICES)
def test_a_resumed_run_ends_as_the_whole_one_to_the_bit(run, in_tmp, speech, optimizer):
    """A cut after step 6 of 14; SOAP changes its bases at step 11."""
    settings = [*RUN, *data(speech), f"optimizer={optimizer}", "optimizer.schedule=constant"]
    settings += ["optimizer.frequency=10"] * (optimizer == "soap")
    run("train", *settings, "trainer.max_steps=14", "run_dir=whole")
    run("train", *settings, "trainer.max_steps=6", "run_dir=cut")
    run("train", "resume=cut", "trainer.max_steps=14")
    whole, cut = weights("whole/checkpoints/last.ckpt"), weights("cut/checkpoints/last.ckpt")
    for part in PARTS:
        assert same(whole[part], cut[part]), part


@pytest.mark.slow
def test_settings_that_are_given_on_resume_are_used(run, in_tmp, speech):
    run("train", *RUN, *data(speech), "optimizer=soap", "run_dir=r")
    run("train", "resume=r", "trainer.max_steps=3", "optimizer.lr=0.002", "optimizer.frequency=3")
    groups = weights("r/checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"]
    assert [group["frequency"] for group in groups] == [3] * 4
    assert [group["initial_lr"] for group in groups] == [0.002] * 4
    adamw = ["optimizer=adamw", "optimizer.schedule=constant", "optimizer.warmup_steps=0"]
    run("train", *RUN, *data(speech), *adamw, "run_dir=a")
    run("train", "resume=a", "trainer.max_steps=3", "optimizer.lr=0.002", "optimizer.betas=[0.8,0.9]")
    groups = weights("a/checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"]
    assert [(group["lr"], tuple(group["betas"])) for group in groups] == [(0.002, (0.8, 0.9))] * 2
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


def without(name):
    return lambda state: state["state"][0].pop(name)


def changed(name, value, matrix=0):
    return lambda state: state["state"][matrix].update({name: value})


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", CHOICES)
def test_a_state_of_anything_else_is_refused(run, in_tmp, speech, optimizer):
    run("train", *RUN, *data(speech), f"optimizer={optimizer}", "run_dir=r")
    factory = {"muon": functools.partial(Muon), "soap": functools.partial(SOAP, max_dim=128)}[optimizer]
    name = {"muon": "momentum", "soap": "left_basis"}[optimizer]
    path = in_tmp / "r" / "checkpoints" / "last.ckpt"
    good = weights(path)
    read_resumable(path, optimizer=factory)
    shape = good["optimizer_states"][0]["state"][0][name].shape
    for change, message in (
        (without(name), "has other entries than a run saves"),
        (changed("more", torch.ones(1)), "has other entries than a run saves"),
        (changed(name, torch.ones(7)), f"{name} is not a tensor of shape"),
        (changed(name, torch.full(shape, torch.nan)), "holds NaN or infinite numbers"),
        (changed(name, torch.ones(shape, dtype=torch.int64)), "has another type than a run saves"),
        (changed("step", torch.tensor(-1.0)), "negative step"),
        (changed("exp_avg", "x", len(good["optimizer_states"][0]["state"]) - 1), "exp_avg is not a tensor of shape"),
        (lambda state: state["param_groups"].pop(), "does not have 4 groups of parameters"),
        (lambda state: state["param_groups"][0].update(role=3), "role is 3; a run's own is like 'hidden'"),
    ):
        contents = weights(path)
        change(contents["optimizer_states"][0])
        torch.save(contents, path)
        with pytest.raises(CheckpointError, match=f"last.ckpt: .*{message}"):
            read_resumable(path, optimizer=factory)
        torch.save(good, path)
    contents = weights(path)
    contents["optimizer_states"][0]["param_groups"][0].update(role="vector", lr=0.5, weight_decay=50.0)
    torch.save(contents, path)  # the settings of the run's config count, not those of the file
    run("train", "resume=r", "trainer.max_steps=3", "optimizer.schedule=constant", "optimizer.warmup_steps=0")
    group = weights(path)["optimizer_states"][0]["param_groups"][0]
    assert (group["role"], group["weight_decay"]) == ("hidden", 0.01) and group["lr"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", CHOICES)
def test_bfloat16_clipping_and_accumulation(run, in_tmp, speech, optimizer):
    settings = ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.5", "trainer.accumulate_grad_batches=2"]
    output = run("train", *RUN, *data(speech), f"optimizer={optimizer}", *settings, "run_dir=r")
    assert "done     2 steps" in output
    assert all(bool(t.isfinite().all()) for t in weights("r/checkpoints/last.ckpt")["state_dict"].values())
