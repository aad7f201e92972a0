"""Bad settings: each ends in one line that names the key, the value and the fix, before any file is written."""

import math
import os
import subprocess
import sys

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import wavenet
from tests.configured import CONFIGS, choices
from tests.conftest import ROOT, TINY
from wavenet.bounds import COMPILE_MODES
from wavenet.cli.preflight import check_run
from wavenet.cli.schema import SCHEMA, type_of_setting
from wavenet.cli.validation import check
from wavenet.conditioning import CategoricalEmbedding, F0Conditioner, MelConditioner
from wavenet.distributions import GaussianMixture, MuLawCategorical
from wavenet.nn import GatedResidualLayer, ResidualStack, Upsampling
from wavenet.types import AnyOf, Integer, Real, Text

GIVEN = {
    "train": ["model/conditioners=[speaker,gender,language,mel,f0,file]", "model.conditioners.features.num_channels=3"],
    "generate": ["checkpoint=RUN"],
    "push": ["checkpoint=RUN", "repo=june/x"],
    "evaluate": ["checkpoint=RUN"],
    "demo": ["checkpoint=RUN"],
    "export_onnx": ["checkpoint=RUN"],
    "import": ["checkpoint=FILE"],
    "prepare": ["output=shards"],
}
GROUPS = {  # each option is composed once; all conditioners together
    "train": (
        "dataset",
        "model",
        "model/distribution",
        "model/context",
        "optimizer",
        "trainer",
        "logger",
        "callbacks",
        "experiment",
    ),
    "generate": (),
    "push": (),
    "evaluate": ("dataset",),
    "demo": (),
    "export_onnx": (),
    "import": (),
    "prepare": ("dataset", "model", "experiment"),
}
WRONG = [math.nan, math.inf, -math.inf, 1e30, -1e30, 10**12 + 0.5, -(10**12), "abc", "", True, [], ["abc"], {"a": 1}]


def composed(command, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, list(overrides))


def leaves(node, group=""):
    """Yield the keys of a config's values; a list is one value."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{group}{key}.")
        elif value != {}:
            yield f"{group}{key}"


def options(command):
    yield []
    yield from ([f"{group}={name}"] for group in GROUPS[command] for name in choices(group))


def all_leaves(command):
    """Return each key of each option, with a config that has it."""
    found = {}
    for option in options(command):
        of_train = command == "train" and option and option[0].startswith("experiment")
        given = [] if of_train else GIVEN[command]
        cfg = composed(command, *given, *option)
        for key in leaves(OmegaConf.to_container(cfg, resolve=False)):
            found.setdefault(key, cfg)
    return found


@pytest.fixture(scope="module", params=sorted(SCHEMA))
def every(request):
    return request.param, all_leaves(request.param)


def numbers_of(kind):
    """Return the numeric types of a setting."""
    kinds = kind.kinds if isinstance(kind, AnyOf) else (kind,)
    return [each for each in kinds if isinstance(each, Integer | Real)]


def refused(command, cfg, key, value):
    written = OmegaConf.to_container(cfg)
    for name in key.split("."):
        written = written[name]
    OmegaConf.update(cfg, key, value, merge=False)
    with pytest.raises(ValueError) as error:
        check(command, cfg)
    OmegaConf.update(cfg, key, written, merge=False)
    message = str(error.value)
    assert message.startswith(f"{key} is "), (key, value, message)
    assert "; it must be " in message and "\n" not in message


@pytest.mark.slow
def test_every_setting_of_every_option_has_a_range(every):
    command, found = every
    lacking = [key for key in found if type_of_setting(command, key) is None]
    assert lacking == [], "give each a line in wavenet/cli/schema.py"


def test_every_range_is_of_an_existing_setting(every):
    """A renamed key leaves no entry behind."""
    command, found = every
    extra = {"optimizer._target_"} | {key for key in SCHEMA[command] if "*" in key}
    extra |= set(SCHEMA["train"]) if command == "prepare" else set()  # of experiments of one's own
    assert set(SCHEMA[command]) - set(found) <= extra


def wrong_for(kind):
    """Return values that a setting must refuse: wrong types, and numbers just outside its range."""
    numbers = numbers_of(kind)
    if not numbers:
        return [12.5, [[]]]
    wrong = [value for value in WRONG if not (isinstance(value, str) and allows_any_name(kind))]
    wrong = [value for value in wrong if value is not True or not kind.accepts(True)]
    for number in numbers:
        whole = isinstance(number, Integer)
        wrong += [number.low - 1, number.high + 1] if whole else [below(number.low), above(number.high)]
        wrong += [number.low + 0.5] if whole and len(numbers) == 1 else []
        wrong += [number.low + 1] if whole and number.step == 2 else []
        wrong += [number.low] if not whole and number.exclusive_low else []
        wrong += [number.high] if not whole and number.exclusive_high else []
    others = [number for number in numbers if isinstance(number, Integer)] if len(numbers) > 1 else []
    return [value for value in wrong if not any(number.accepts(value) for number in others)]  # 2 batches are allowed


def allows_any_name(kind):
    return isinstance(kind, AnyOf) and any(isinstance(each, Text) for each in kind.kinds)


def below(number):
    return math.nextafter(number, -math.inf)


def above(number):
    return math.nextafter(number, math.inf)


@pytest.mark.slow
def test_every_setting_refuses_what_it_is_not(every):
    command, found = every
    for key, cfg in found.items():
        for value in wrong_for(type_of_setting(command, key)):
            refused(command, cfg, key, value)


@pytest.mark.slow
def test_every_setting_takes_its_ends_and_what_the_configs_have(every):
    command, found = every
    for key in found:
        for number in numbers_of(type_of_setting(command, key)):
            if isinstance(number, Integer):
                assert number.accepts(number.low) and number.accepts(number.high)
            else:
                assert number.accepts(number.low) != number.exclusive_low
                assert number.accepts(number.high) != number.exclusive_high
        check(command, found[key])


def test_the_modes_of_the_compiler_are_those_of_training():
    assert all(type_of_setting("train", "compile").accepts(mode) for mode in (*COMPILE_MODES, True, False))
    assert not type_of_setting("train", "compile").accepts("fastest")


MISTAKES = [  # command, overrides, and expected message
    ("train", "dataset=mix", "dataset.parts is empty; name some on the command line: dataset/parts=[prompts,folder]"),
    ("train", "dataset=mix dataset/parts=[folder]", "dataset=folder needs the folder: dataset.parts.folder.root=PATH"),
    ("train", "dataset=mix dataset/parts=[folder] dataset.parts.folder.root=nowhere",
     "nowhere: no such folder; give dataset.parts.folder.root=PATH"),
    ("train", "dataset=mix dataset/parts=[vctk]", "part 'vctk': data: no VCTK-Corpus-0.92 or VCTK-Corpus there"),
    ("train", "dataset=mix dataset/parts=[vctk] dataset.parts.vctk.mic=3",
     "dataset.parts.vctk.mic is 3; it must be mic1 or mic2"),
    ("train", "dataset=mix dataset/parts=[promts]", "did you mean dataset/parts=prompts?"),
    ("train", "dataset=mix dataset/parts=[prompts] dataset.parts.prompts.rot=1",
     "did you mean dataset.parts.prompts.root?"),
    ("train", "dataset=mix dataset/parts=[prompts] dataset.weights={folder:1}",
     "dataset.weights is {'folder': 1}; it must have a number for each part, not all 0: prompts"),
    ("train", "dataset=mix dataset/parts=[prompts] dataset.weights={prompts:many}",
     "dataset.weights is {'prompts': 'many'}; it must be a dictionary, such as {prompts: 1, folder: 3}"),
    ("train", "dataset=mix dataset/parts=[prompts,prompts]", "dataset.parts.prompts: two parts have this name; give"),
    ("train", "dataset=mix dataset/parts=[prompts] +dataset@dataset.parts.prompts=folder",
     "dataset.parts.prompts: two parts have this name; give one of them another, +dataset@dataset.parts.NAME=DATASET"),
    ("train", "dataset=mix dataset@dataset.parts.mine=folder",
     "dataset@dataset.parts.mine=folder: nothing is chosen there yet; write +dataset@dataset.parts.mine=folder"),
    ("train", "dataset=mix +dataset@dataset.parts.x=mix", "dataset.parts.x._target_ is 'wavenet.data.mix.Mix'; it"),
    ("train", "dataset=mix +dataset.parts.x.root=y", "dataset.parts.x is no dataset; choose one for it: +dataset@"),
    ("train", "dataset=mix +dataset.parts.x=5", "dataset.parts.x is 5; it must be a group of settings, such as"),
    ("train", "dataset=mix +dataset.parts.x._target_=foo.Bar", "dataset.parts.x._target_ is 'foo.Bar'; it must be an"),
    ("train", "dataset/parts=[prompts]", "it belongs to an option that is not chosen; choose dataset=mix"),
    ("train", "optimzer.lr=1", "optimzer.lr=1: there is no such setting; did you mean optimizer.lr?"),
    ("train", "lr=1", "lr=1: there is no such setting; did you mean optimizer.lr?"),
    ("train", "dataset=vcktk", "dataset=vcktk: there is no such option; did you mean dataset=vctk?"),
    ("train", "model.residual_chanels=8", "did you mean model.residual_channels?"),
    ("train", "+foo=1", "foo: there is no such setting; known are batch_size,"),
    ("train", "+batchsize=3", "batchsize: there is no such setting; did you mean batch_size?"),
    ("train", "+model.residual_chanels=8", "did you mean model.residual_channels?"),
    ("train", "+optimizer.beta=3", "optimizer.beta: there is no such setting; did you mean optimizer.betas?"),
    ("train", "+trainer.foo=1", "trainer.foo: there is no such setting"),
    ("train", "optimizer.adamw_lr=0.003", "it belongs to an option that is not chosen"),
    ("train", "experiment=papper", "did you mean experiment=paper?"),
    ("train", "model/conditioners=[speaker,speakr]", "did you mean model/conditioners=speaker?"),
    ("train", "a=[1", "a=[1: not readable as KEY=VALUE"),
    ("train", "seed", "seed: not readable as KEY=VALUE"),
    ("train", "batch_size=1,2", "batch_size=1,2: several values; write KEY=[A,B] for a list, or add --multirun"),
    ("train", "+batch_size=2", "+batch_size=2: the setting exists already; remove the +"),
    ("train", "~batch_size", "batch_size is missing"),
    ("train", "logger=null", "logger=null: there is no such option; known are csv, none, tensorboard"),
    ("train", "seed=${sed}", "seed cannot be resolved: Interpolation key 'sed' not found"),
    ("train", "preparation=5", "preparation is 5; it must be a group of settings"),
    ("train", "model._target_=foo.Bar", "model._target_ is 'foo.Bar'; it must be an existing class"),
    ("train", "model/conditioners=[file]", "model.conditioners.features.num_channels is not given"),
    ("train", "run_dir=file/run", "run_dir is 'file/run', but file is a file"),
    ("train", "preparation.cache_dir=file", "preparation.cache_dir is 'file', a file; name a folder"),
    ("train", "trainer.devices=200", "trainer.devices is 200; on a CPU it is a number of processes, from 1 to"),
    ("train", "segment_length=1", "segment_length is 1, less than the stack's receptive field of 8 samples"),
    ("train", "segment_length=16777216 batch_size=65536", "x segment_length is 65536 x 16777216, more than 268435456"),
    ("train", "model.num_cycles=50 model.residual_channels=4096 model.gate_channels=4096 model.dilation_cycle=10 "
     "model.kernel_size=1", "gate_channels=4096, skip_channels=8 and 500 layers"),
    ("train", "model.conditioners.speaker.categories=[allison]", "['allison'], but the dataset has carlo"),
    ("train", "model/conditioners=[mel] model.conditioners.mel.hop_length=60",
     "model.conditioners.mel.hop_length is 60; it must be upsampling.scales x upsampling.hold = 4 x 4 x 4 = 64"),
    ("train", "model/conditioners=[mel] model.conditioners.mel.sample_rate=16000",
     "model.conditioners.mel.sample_rate is 16000; it must be the model's 8000"),
    ("train", "model/conditioners=[mel] model.conditioners.mel.condition_channels=7",
     "model.conditioners.mel.condition_channels is 7; it must be the model's 4"),
    ("train", "model/conditioners=[f0] model.conditioners.f0.fmax=70", "model.conditioners.f0.fmin is 60.0 and fmax"),
    ("generate", "speeker=june", "speeker=june: there is no such setting; did you mean speaker?"),
    ("generate", "checkpoint=x output=file/x.wav", "output is 'file/x.wav', but file is a file"),
    ("generate", "checkpoint=x output=folder", "output is 'folder', a folder; name a file in it"),
    ("demo", "checkpoint=x host=0.0.0.0", "host is '0.0.0.0'; it must be 127.0.0.1, ::1 or localhost: the page"),
    ("demo", "checkpoint=x port=70000", "port is 70000; it must be a whole number from 0 to 65535"),
    ("demo", "checkpoint=nowhere port=0", "nowhere: no such checkpoint"),
    ("evaluate", "checkpoint=x output=folder", "output is 'folder', a folder; name a file in it"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "overrides", "message"), MISTAKES, ids=[mistake[1] for mistake in MISTAKES])
def test_a_mistake_on_the_command_line_ends_in_one_line(run, in_tmp, command, overrides, message):
    (in_tmp / "file").touch()
    (in_tmp / "folder").mkdir()
    given = [*(TINY if command == "train" else []), *overrides.split(" ")]
    with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
        run(command, *given)
    lines = [line for line in str(error.value).splitlines()[1:] if line and "preparing audio" not in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"wavenet {command}: ") and message in lines[0]
    assert set(os.listdir()) <= {"file", "folder", "cache"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpus_that_are_not_there(monkeypatch):
    with pytest.raises(ValueError, match="trainer.accelerator is 'gpu', but torch sees no GPU here; use trainer=cpu"):
        check_run(composed("train", "trainer=gpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # so that their memory is not queried
    for devices in ("3", "[0,2]"):
        with pytest.raises(ValueError, match=r"but torch sees 2 GPUs here; use trainer.devices=2, or -1 for all"):
            check_run(composed("train", "trainer=gpu", f"trainer.devices={devices}"))
    check_run(composed("train", "trainer=gpu", "trainer.devices=2"))


def test_a_rate_and_settings_that_the_checkpoint_does_not_have(run, in_tmp, small):
    wavenet.save(small(speakers=("ann", "84")), "saved")
    wavenet.save(small(distribution=lambda: GaussianMixture(2)), "mixture")
    for command, overrides, message in (
        ("generate", ["checkpoint=saved", "+sample_rate=16000"], "sample_rate is 16000, but the checkpoint"),
        ("evaluate", ["checkpoint=saved", "sample_rate=16000"], "sample_rate is 16000, but the checkpoint"),
        ("generate", ["checkpoint=saved", "speaker=bob"], "unknown speaker 'bob'; choose from ann, 84"),
        ("generate", ["checkpoint=saved", "seconds=86400", "num=65536"], "seconds and num: 65536 x 172800000 samples"),
        ("generate", ["checkpoint=mixture", "top_k=5"], "top_k is 5, but the output distribution, mixture of 2"),
        ("generate", ["checkpoint=mixture", "guidance=2"], "guidance is 2, but it mixes logits"),
        ("generate", ["checkpoint=saved", "guidance=2"], "guidance is 2, but the model always needs speaker"),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
            run(command, *overrides)
        assert f"wavenet {command}: {message}" in str(error.value)
    assert sorted(os.listdir()) == ["mixture", "saved"]
    assert "out.wav: 0.01 s at 2000 Hz" in run("generate", "checkpoint=saved", "sample_rate=2000", "seconds=0.01")


@pytest.mark.slow
@pytest.mark.parametrize("full", ["0", "1"])
def test_a_traceback_is_shown_on_request(in_tmp, full):
    for mistake in ("speeker=june", "seed=-1"):
        command = [sys.executable, str(ROOT / "scripts" / "generate.py"), "checkpoint=nowhere", mistake]
        environment = os.environ | {"HYDRA_FULL_ERROR": full}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert ("Traceback" in ended.stderr) == (full == "1")
        assert ended.returncode == (1 if full == "1" else 2)
        assert ended.stdout == "" and (full == "1" or len(ended.stderr.splitlines()) == 1)
    assert os.listdir() == []


def test_hydras_own_options_work(run, in_tmp):
    assert "seed: 3" in run("train", "--cfg", "job", "--resolve", "seed=3")
    with pytest.raises(AssertionError, match=r"exit 0[\s\S]*--shell-completion"):
        run("train", "--hydra-help")
    with pytest.raises(AssertionError, match="exit 2") as error:
        run("generate", "--multirun", "checkpoint=nowhere", "seed=1,2")
    assert "wavenet generate: nowhere: no such checkpoint" in str(error.value)


def test_python_users_get_value_errors(small):
    model = small(speakers=("ann", "84"))
    for options in (
        {"seconds": "long"}, {"seconds": None, "num": 2.5}, {"seconds": 0.01, "num": 10**9}, {"seconds": math.nan},
        {"seconds": 1e15}, {"seconds": 0.01, "seed": 2**70}, {"seconds": 0.01, "seed": "a"},
        {"seconds": 0.01, "temperature": "hot"}, {"seconds": 0.01, "top_k": 0.5}, {"seconds": 0.01, "threads": 1.5},
        {"seconds": 0.01, "guidance": "more"}, {"seconds": 0.01, "speaker": 85},
        {"seconds": 0.01, "speaker": 1.5},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            wavenet.generate(model, **({"speaker": "ann"} | options))
    assert torch.equal(wavenet.generate(model, 0.01, speaker=84), wavenet.generate(model, 0.01, speaker="84"))
    for build in (
        lambda wrong: GatedResidualLayer(4, 4, 4, 2, 1, condition_channels=wrong),
        lambda wrong: ResidualStack(4, 4, 4, 2, [wrong]),
        lambda wrong: Upsampling([wrong], 4),
        lambda wrong: MuLawCategorical(wrong),
        lambda wrong: GaussianMixture(log_scale_min=wrong),
        lambda wrong: CategoricalEmbedding("speaker", ["ann"], 4, dropout=wrong),
        lambda wrong: CategoricalEmbedding("speaker", wrong, 4),
        lambda wrong: MelConditioner(8000, 4, fmin=wrong),
        lambda wrong: MelConditioner(8000, 4, floor=wrong),
        lambda wrong: MelConditioner(8000, 4, std=wrong),
        lambda wrong: MelConditioner(8000, 4, context_frames=wrong),
        lambda wrong: Upsampling(wrong),
        lambda wrong: F0Conditioner(8000, 4, fmin=wrong),
        lambda wrong: F0Conditioner(8000, 4, spread=wrong),
    ):
        for wrong in ("abc", None, math.nan):
            with pytest.raises(ValueError):
                build(wrong)
