"""Parts of one's own, in a module outside the package: trained, resumed, evaluated and sampled, once trusted."""

import csv
import functools
import json
import os
import shutil
import subprocess
import sys

import lightning as L
import pytest
import torch
import yaml
from torch import nn

import wavenet
from tests.conftest import ROOT, TINY
from tests.own_parts import write_own_parts
from wavenet import WaveNet
from wavenet.checkpoint import (
    CheckpointError,
    UntrustedError,
    build,
    check_reconstructs,
    check_trust,
    constructor_parameters,
    dataset_class,
    describe,
    module_class,
    optimizer_class,
)
from wavenet.distributions import MuLawCategorical
from wavenet.nn import CausalConv1d
from wavenet.training import WaveNetTraining, make_optimizer
from wavenet.training.optimizer import check_optimizer_state, weight_decay_groups

pytestmark = pytest.mark.slow

OWN = ["--config-dir", "conf", "model=scaled", "dataset=mine", "optimizer=mine", "logger=csv"]
SMALL = [setting for setting in TINY if not setting.startswith("model.")]
UNTRUSTED = (
    "is not one of this package's own classes; refused, because code in mymodel would be run; if you trust it, use "
    'trust=["mymodel"], or trust=[mymodel] on the command line'
)


@pytest.fixture(scope="module")
def place(tmp_path_factory, speech):
    """A folder with somebody's own parts, and a run that was trained of them by the script, two steps long."""
    folder = write_own_parts(tmp_path_factory.mktemp("own"), speech)
    script(folder, "train", *OWN, *SMALL, "run_dir=run", "trainer.log_every_n_steps=1")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    """Work in that folder, where nothing of it was imported yet."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("WAVENET_CACHE", str(place / "cache"))
    (place / "imported").unlink(missing_ok=True)
    return place


def script(folder, command, *overrides, code=0):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WAVENET_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{command}.py"), *overrides],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def refused(run, command, *overrides):
    """The one line in which a command is refused."""
    with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
        run(command, *overrides)
    message = [line for line in str(error.value).splitlines()[1:] if line]
    assert len(message) == 1, message
    return message[0]


def entries(run):
    with (run / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_of_ones_own_parts_is_resumed_generated_from_and_evaluated(place, here, run, tmp_path):
    shutil.copytree(place / "run", place / "again")
    script(place, "train", "resume=again", "trust=[mymodel]", "trainer.max_steps=3")
    contents = torch.load(place / "again" / "checkpoints" / "last.ckpt", weights_only=True)
    assert contents["global_step"] == 3
    assert contents["wavenet"]["model"]["_target_"] == "mymodel.Scaled"
    assert {state["count"] for state in contents["optimizer_states"][0]["state"].values()} == {3}
    assert "trust" not in yaml.safe_load((place / "again" / "config.yaml").read_text())
    generated = ("seconds=0.02", "backend=reference", f"output={tmp_path}/x.wav")
    assert "0.02 s at 8000 Hz" in run("generate", "checkpoint=again", "trust=[mymodel]", *generated)
    settings = ("speed.seconds=0", "sounds.seconds=0", "resynthesis.utterances=0", "long_term.utterances=0")
    assert "allison" in run("evaluate", "checkpoint=again", "trust=[mymodel]", *settings)
    model = json.loads((place / "again" / "evaluation.json").read_text())
    assert model["bits_per_sample"]["all"]["value"] > 8


def test_training_and_evaluation_compute_the_same_network(place):
    """An untrained network that is sure of itself is far above chance level, however it is computed."""
    logged = entries(place / "run")
    training = [float(entry["train/bits_per_sample"]) for entry in logged if entry.get("train/bits_per_sample")]
    held_out = [
        float(entry["validation/bits_per_sample"]) for entry in logged if entry.get("validation/bits_per_sample")
    ]
    assert training[0] == pytest.approx(held_out[-1], rel=0.2)


@pytest.mark.parametrize("command", ["generate", "evaluate", "demo", "push", "export_onnx", "train"])
def test_without_trust_a_checkpoint_is_refused_in_one_line_and_nothing_is_imported(here, run, command):
    overrides = {"push": ["repo=a/b"], "demo": ["port=0"]}.get(command, [])
    given = ["resume=run"] if command == "train" else ["checkpoint=run"]
    message = refused(run, command, *given, *overrides)
    assert message.startswith(f"wavenet {command.replace('_', ' ')}: run") or "/run/" in message
    assert message.endswith(UNTRUSTED) and "_target_ 'mymodel." in message
    for trust in ("mymodel2", "my", "mymodel.sub", "wavenet"):
        assert UNTRUSTED in refused(run, command, *given, *overrides, f"trust=[{trust}]")
    assert not (here / "imported").exists() and "mymodel" not in sys.modules


def test_trust_is_a_list_of_modules():
    assert check_trust(["mymodel", "a.b_2"]) == ("mymodel", "a.b_2")
    for wrong in ("mymodel", None, 5, {"mymodel": 1}):
        with pytest.raises(ValueError, match="trust is .*; it must be a list of modules"):
            check_trust(wrong)
    for wrong in ("", "my model", "mymodel.", "../x", "a/b", 5, "x;y", "mymodel\n"):
        with pytest.raises(ValueError, match="trust has .*; each must be a module's name"):
            check_trust([wrong])


@pytest.mark.parametrize("wrong", ["mymodel", "[../x]", "[5]"])
def test_a_trust_that_is_none_is_named_on_the_command_line(here, run, wrong):
    assert "generate: trust" in refused(run, "generate", "checkpoint=run", f"trust={wrong}")


def test_trust_covers_only_the_named_modules(here):
    (here / "mymodel2.py").write_text("from mymodel import Scaled\nraise SystemExit('imported')\n")
    with pytest.raises(UntrustedError):
        module_class("mymodel2.Scaled", ["mymodel"])
    for target, trust in (
        ("os.system", ["os"]),
        ("mymodel.make_model", ["mymodel"]),
        ("subprocess.Popen", ["subprocess"]),
    ):
        with pytest.raises(ValueError, match="refused, it must be a subclass of Module"):
            module_class(target, trust)
    for target in ("os.system", "builtins.eval", "wavenet.checkpoint.os.system", "wavenet.model.nn.Linear"):
        with pytest.raises(ValueError, match="is not one of this package's own classes; refused$"):
            module_class(target, ["mymodel"])
    with pytest.raises(ValueError, match=r"is defined elsewhere; refused, use wavenet\.model\.WaveNet"):
        module_class("mymodel.WaveNet", ["mymodel"])  # which would go round the limits of our own
    with pytest.raises(ValueError, match=r"'mymodel\.Nothing' cannot be imported: module 'mymodel' has no attribute"):
        module_class("mymodel.Nothing", ["mymodel"])
    with pytest.raises(ValueError, match="has no method scan"):
        dataset_class("mymodel.SignSGD", ["mymodel"])
    with pytest.raises(ValueError, match="must be a subclass of Optimizer"):
        optimizer_class("mymodel.Scaled", ["mymodel"])
    assert optimizer_class("torch.optim.SGD") is torch.optim.SGD
    with pytest.raises(ValueError, match="'torch.nn.Linear' is not one of this package's own classes; refused"):
        optimizer_class("torch.nn.Linear")
    assert not (here / "called").exists()


def test_a_config_that_sets_trust_is_refused(here, run):
    shutil.copytree("run", "lying")
    config = yaml.safe_load((here / "lying" / "config.yaml").read_text())
    (here / "lying" / "config.yaml").write_text(yaml.safe_dump(config | {"trust": ["mymodel"]}))
    assert UNTRUSTED in refused(run, "train", "resume=lying")
    assert not (here / "imported").exists()
    assert "trust is not a setting of a run; remove it" in refused(run, "train", "resume=lying", "trust=[mymodel]")


def test_a_folder_that_is_not_needed_is_not_looked_into(here, small):
    wavenet.save(small(), here / "plain")
    wavenet.load("plain", trust=["mymodel"])
    assert str(here) not in sys.path and not (here / "imported").exists()
    wavenet.load("run", trust=["mymodel"])
    assert sys.path[-1] == str(here)


def test_loaded_it_is_the_same_network_with_what_is_not_among_its_weights(here):
    model = wavenet.load("run", trust=["mymodel"])
    assert (type(model).__name__, model.gain) == ("Scaled", 20)
    assert torch.equal(model.table, torch.full((1, 1, 1), 20.0))
    again = wavenet.load(wavenet.save(model, here / "saved"), trust=["mymodel"])
    waveform, condition = torch.rand(1, 50), model.condition({"speaker": "june"}, 1)
    assert torch.equal(again.log_prob(waveform, condition)[0], model.log_prob(waveform, condition)[0])
    with pytest.raises(CheckpointError, match=r"saved: _target_ 'mymodel\.Scaled'"):
        wavenet.load("saved")


MISTAKES = [
    ("+model.gane=1", "model.gane: there is no such setting; did you mean model.gain?"),
    (
        "model._target_=mymodel.Nothing",
        "model._target_ is 'mymodel.Nothing'; it must be an existing class, a WaveNet",
    ),
    ("model._target_=mymodel.SignSGD", "it must be an existing class, a WaveNet: it is a SignSGD; refused"),
    ("model._target_=mymodel.make_model", "a WaveNet: it is a function, not a class; refused"),
    ("model._target_=mymodel.Fewer", "it is a Fewer; refused, it must be a subclass of WaveNet"),
    ("model.distribution._target_=mymodl.Fewer", "there is no module mymodl, neither installed nor in /"),
    ("model._target_=wavenet.WaveNet", "it is not one of this package's own classes; refused"),
    ("dataset._target_=mymodel.SignSGD", "dataset._target_ is 'mymodel.SignSGD'; it must be an existing class, a"),
    ("dataset._target_=mymodel.Nameless", "whose name is None; give the class a short name"),
    ("+dataset.rot=x", "dataset.rot: there is no such setting; did you mean dataset.root?"),
    (
        "optimizer._target_=torch.optim.Nothing",
        "optimizer._target_ is 'torch.optim.Nothing'; it must be an existing",
    ),
    (
        "optimizer._target_=torch.nn.Linear",
        "a torch.optim.Optimizer: it is a Linear; refused, it must be a subclass of Opt",
    ),
    ("+optimizer.momentun=0.9", "optimizer.momentun: there is no such setting; did you mean optimizer.momentum?"),
    (
        "optimizer._target_=torch.optim.Rprop",
        "warmup_steps; if it comes from a YAML, leave it out: ~optimizer.momentum",
    ),
    ("~optimizer.lr", "optimizer.lr is not given; give +optimizer.lr=VALUE"),
    ("optimizer.lr=-1", "optimizer.lr is -1; it must be a number above 0"),
    ("optimizer.momentum=2", "optimizer: SignSGD refuses its settings or the model's parameters: momentum is 2"),
    ("optimizer.warmup_steps=-1", "optimizer.warmup_steps is -1; it must be a whole number"),
    (
        "optimizer._target_=torch.optim.LBFGS ~optimizer.momentum",
        "optimizer: LBFGS refuses its settings or the model's",
    ),
    ("logger._target_=mymodel.Mine", "logger._target_ is 'mymodel.Mine'; it must be an existing class, a logger"),
]


@pytest.mark.parametrize(("overrides", "message"), MISTAKES, ids=[mistake[0] for mistake in MISTAKES])
def test_a_mistake_is_named_before_anything_is_made(here, run, overrides, message):
    assert message in refused(run, "train", *OWN, *SMALL, "run_dir=wrong", *overrides.split(" "))
    assert not (here / "wrong").exists()


def test_a_run_goes_on_with_its_own_optimizer(here, run):
    shutil.copytree("run", "other")
    message = refused(run, "train", "--config-dir", "conf", "resume=other", "trust=[mymodel]", "optimizer=sgd")
    assert "optimizer._target_ is torch.optim.SGD; resume goes on with the run's mymodel.SignSGD" in message
    path = here / "other" / "checkpoints" / "last.ckpt"
    good = torch.load(path, weights_only=True)
    for change, message in (
        (lambda s: s["param_groups"][0].pop("momentum"), "holds other entries than the run's optimizer has"),
        (lambda s: s["param_groups"][0].update(momentum="x"), "momentum is 'x'; a run's own is like 0.8"),
        (lambda s: s["param_groups"][1]["params"].pop(), "is for other parameters"),
        (lambda s: s["state"][0].update(mean=torch.full((2,), torch.nan)), "holds NaN or infinite numbers"),
        (lambda s: s["state"].update({99: {}}), "is for other parameters"),
    ):
        contents = torch.load(path, weights_only=True)
        change(contents["optimizer_states"][0])
        torch.save(contents, path)
        assert message in refused(run, "train", "resume=other", "trust=[mymodel]")
        torch.save(good, path)


def test_optimizers_of_torch_need_no_trust(run, in_tmp, speech):
    data = ["dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true", "logger=none"]
    sgd = ["optimizer=adamw", "+optimizer._target_=torch.optim.SGD", "~optimizer.betas", "+optimizer.momentum=0.9"]
    run("train", *TINY, *data, *sgd, "optimizer.lr=1.5", "run_dir=r")
    run("train", "resume=r", "trainer.max_steps=3")
    contents = torch.load("r/checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert [group["weight_decay"] for group in contents["param_groups"]] == [0.01, 0.0]
    assert set(contents["state"][0]) == {"momentum_buffer"}


def test_frozen_weights_are_not_for_the_optimizer(small):
    model = small(("ann",))
    model.input.requires_grad_(False)
    model.head[1].requires_grad_(False)
    frozen = {id(p) for part in (model.input, model.head[1]) for p in part.parameters()}
    decayed, free = weight_decay_groups(model)
    assert not frozen & {id(p) for p in decayed + free}
    assert len(decayed) + len(free) + len(frozen) == len(list(model.parameters()))
    sgd, rprop = (
        functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.2),
        functools.partial(torch.optim.Rprop, lr=0.1),
    )
    for maker in (sgd, rprop):
        optimizer = make_optimizer(maker, model)
        assert [len(group["params"]) for group in optimizer.param_groups] == [len(decayed), len(free)]
        state = optimizer.state_dict()
        for group in state["param_groups"]:
            group["initial_lr"] = 0.1
        check_optimizer_state(state, maker, model)
    assert [group["weight_decay"] for group in make_optimizer(sgd, model).param_groups] == [0.2, 0.0]


class Tail(nn.Module):
    """A part that the model makes some of."""

    def __init__(self, width: int, depth: int = 1, **more):
        super().__init__()
        self.width, self.depth = width, depth


class Several(WaveNet):
    """Takes a class, and a class with settings, to build its parts from."""

    def __init__(self, make_tail, other=None, **kwargs):
        super().__init__(**kwargs)
        self.make_tail, self.other = make_tail, other
        self.tail = make_tail(width=3)


class Forgetful(WaveNet):
    """Does not keep its argument."""

    def __init__(self, gain=1.0, **kwargs):
        super().__init__(**kwargs)


class Odd(WaveNet):
    """Keeps an argument as something other than plain data."""

    def __init__(self, table=None, **kwargs):
        super().__init__(**kwargs)
        self.table = torch.ones(3)


SIZES = {"residual_channels": 6, "gate_channels": 8, "skip_channels": 10, "dilation_cycle": 3, "num_cycles": 2}


def test_classes_as_arguments_are_described_and_built_again():
    model = Several(
        functools.partial(Tail, depth=2), Tail, distribution=MuLawCategorical(16, 5), sample_rate=2000, **SIZES
    )
    config = json.loads(json.dumps(describe(model)))
    name = f"{__name__}.Tail"
    assert config["make_tail"] == {"_target_": name, "_partial_": True, "depth": 2}
    assert config["other"] == {"_target_": name, "_partial_": True}
    assert list(config)[1:5] == ["make_tail", "other", "distribution", "sample_rate"]
    again = build(config, [__name__])
    assert describe(again) == config and again.tail.depth == 2
    check_reconstructs(model)
    with pytest.raises(UntrustedError):
        build(config)
    for wrong in (lambda c: c["other"].update(_partial_="yes"), lambda c: c["other"].update(height=3)):
        config = json.loads(json.dumps(describe(model)))
        wrong(config)
        if "height" in config["other"]:
            build(config, [__name__])  # whose **more takes anything
        else:
            with pytest.raises(ValueError, match="must be true or false"):
                build(config, [__name__])


def test_what_cannot_be_described_says_what_to_add():
    class Local(WaveNet):
        pass

    arguments = {"distribution": MuLawCategorical(16, 5), "sample_rate": 2000, **SIZES}
    for make, message in (
        (Forgetful, r"Forgetful: its argument gain is not stored.*; add self\.gain = gain to its constructor"),
        (Odd, "Odd: its argument table is stored as tensor.*, which is not plain data"),
        (Local, "Local cannot be imported by its name, so it cannot be saved; put the class at the top level"),
        (functools.partial(Several, lambda width: Tail(width)), "its argument make_tail .*cannot be saved"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            describe(make(**arguments))
        assert "\n" not in str(error.value)
    assert list(constructor_parameters(Several))[:4] == ["make_tail", "other", "distribution", "sample_rate"]


class Changed(WaveNet):
    """Makes changes to the network in its own constructor, where they belong."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head[0] = nn.GELU()
        self.head[2].register_forward_hook(lambda module, inputs, output: output * 2)
        torch.nn.utils.parametrizations.weight_norm(self.head[3])


def gelu(model):
    model.head[0] = nn.GELU()


def hook(model):
    model.stack.layers[1].register_forward_hook(lambda module, inputs, output: output)


def norm(model):
    model.stack.layers[0].extra = nn.GroupNorm(2, 6)


def patched(model):
    model.stack.layers[0].forward = lambda *given: None


def slope(model):
    model.head[1].dilation = (2,)


def longer(model):
    model.stack.layers.append(model.stack.layers[0])


def normed(model):
    torch.nn.utils.parametrizations.weight_norm(model.head[3])


def wrapped(model):
    class Adapted(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *given):
            return self.inner(*given)

    model.head[1] = Adapted(model.head[1])


def compiled(model):
    model.head = torch.compile(model.head)


CHANGES = {
    gelu: r"head\.0 is a GELU, and the description builds a ReLU",
    hook: r"stack\.layers\.1 has 1 forward hooks, and the description builds it with 0",
    norm: r"stack\.layers\.0\.extra is a GroupNorm, and the description builds nothing there",
    patched: r"stack\.layers\.0 has forward=.*patched.*, and the description builds it without forward",
    slope: r"head\.1 has dilation=\(2,\), and the description builds it with dilation=\(1,\)",
    longer: r"stack\.layers\.6 is a GatedResidualLayer, and the description builds nothing there",
    normed: r"head\.3\.parametrizations is a ModuleDict, and the description builds nothing there",
    wrapped: r"head\.1 is a Adapted, and the description builds a PointwiseConv1d",
    compiled: r"head is a OptimizedModule, and the description builds a Head",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_network_is_not_saved_as_another_one(small, tmp_path, change):
    model = small(("ann",))
    check_reconstructs(model)
    change(model)
    with pytest.raises(CheckpointError, match=rf"m: not saved: {CHANGES[change]}; make the change in the constructor"):
        wavenet.save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    with pytest.raises(ValueError, match=CHANGES[change]):
        WaveNetTraining(model, lr=0.1).on_save_checkpoint({})
    trainer = L.Trainer(
        max_steps=1, logger=False, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False
    )
    with pytest.raises(ValueError, match=CHANGES[change]):
        trainer.fit(WaveNetTraining(model, lr=0.1), train_dataloaders=[{}], val_dataloaders=[{}])


def test_changes_in_a_classes_own_constructor_are_saved(tmp_path):
    model = Changed(distribution=MuLawCategorical(16, 5), sample_rate=2000, **SIZES).eval()
    random = torch.get_rng_state()
    folder = wavenet.save(model, tmp_path / "m")
    again = wavenet.load(folder, trust=[__name__])
    assert torch.equal(torch.get_rng_state(), random)
    waveform = torch.rand(1, 50)
    assert torch.equal(again.log_prob(waveform)[0], model.log_prob(waveform)[0])
    with pytest.raises(CheckpointError, match=r'trust=\["tests"\]'):
        wavenet.load(folder)


@pytest.mark.filterwarnings("default:.*the model is a Scaled, not a WaveNet.*")
def test_a_stack_and_a_context_of_ones_own_are_trained_resumed_and_sampled(here, run):
    stack = "+model.make_stack={_target_: mymodel.Stack, _partial_: true}"
    context = "+model.context={_target_: mymodel.Context, condition_channels: 4, pool: 8, dilation_cycle: 2}"
    run("train", *OWN, *SMALL, stack, context, "run_dir=layers")
    assert UNTRUSTED in refused(run, "train", "resume=layers", "trainer.max_steps=3")
    run("train", "resume=layers", "trust=[mymodel]", "trainer.max_steps=3")
    run("generate", "checkpoint=layers", "trust=[mymodel]", "seconds=0.01", "output=x.wav")
    model = wavenet.load("layers", trust=["mymodel"])
    assert {layer.slope for layer in model.stack.layers} == {2.0}
    assert [type(part).__name__ for part in (model.stack, model.context)] == ["Stack", "Context"]
    assert isinstance(model.stack.layers[0].dilated, CausalConv1d)
