"""Consistent bounds: every model that can be trained can be saved, loaded and resumed; others are refused at once."""

import copy
import math
import os

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

import wavenet
from tests.cli.test_validation import numbers_of
from tests.configured import choices, composed
from tests.conftest import TINY
from wavenet import WaveNet, bounds
from wavenet.bounds import bounds_of, checked
from wavenet.checkpoint import build_on_meta, check_json, describe
from wavenet.cli import preflight, saved_config
from wavenet.cli.command import plain
from wavenet.cli.schema import type_of_setting
from wavenet.cli.validation import check
from wavenet.conditioning import CategoricalEmbedding, F0Conditioner, FileConditioner, MelConditioner
from wavenet.data.segments import SegmentStream, TrainingSegments
from wavenet.distributions import MuLawCategorical
from wavenet.generation import Stream
from wavenet.training import SegmentData, WaveNetTraining
from wavenet.types import AnyOf, Integer, Real, optional

pytestmark = pytest.mark.slow

SMALLEST = [  # the smallest model, in which single settings are set to their bounds
    *TINY, "logger=none", "batch_size=1", f"segment_length={2**24}", "model.gate_channels=2", "model.skip_channels=1",
    "model.residual_channels=1", "model.condition_channels=1", "model.dilation_cycle=1", "model/conditioners=[none]",
]  # fmt: skip
MEL = [
    "model/conditioners=[mel]", "model.conditioners.mel.n_mels=1", "model.conditioners.mel.n_fft=16384",
    "model.conditioners.mel.hop_length=64", "model.conditioners.mel.hidden_channels=1",
]  # fmt: skip
FILE = ["model/conditioners=[file]", "model.conditioners.features.num_channels=1"]
PARTS = {
    "model": [],
    "context": ["model/context=small", "model.context.kernel_size=1", "model.context.dilation_cycle=1"],
    **{f"distribution={name}": [f"model/distribution={name}"] for name in choices("model/distribution")},
    "conditioners.speaker": ["model/conditioners=[speaker]", "model.conditioners.speaker.categories=[ann]"],
    "conditioners.mel": MEL,
    "conditioners.f0": ["model/conditioners=[f0]"],
    "conditioners.features": FILE,
    "conditioners.features.upsampling": FILE,
}
SHARED_WITH_MODEL = ("condition_channels", "sample_rate")  # arguments of a part that must equal the model's
DEPENDENT = ("hop_length", "hold", "scales")  # see test_factors_of_the_hop_length_at_their_bounds
UNREACHABLE = {
    ("context", "num_cycles", bounds.MAX_LAYERS),  # bounds that no model can reach, because of other bounds
    ("mel", "n_fft", 2), ("mel", "fmin", 500_000), ("mel", "fmax", 5e-324),
    ("f0", "fmax", 5e-324), ("f0", "fmin", 125_000), ("f0", "fmax", 250_000), ("mel", "fmax", 500_000),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _endless_memory(monkeypatch):
    monkeypatch.setattr(preflight, "memory_of_this_machine", lambda: math.inf)


def part_of(name):
    """Return the keys of a part in the model's config."""
    return [] if name == "model" else name.split("=")[0].split(".")


def ends(kind):
    """Yield the lowest and the highest value that a type allows."""
    for number in numbers_of(kind):
        if isinstance(number, Integer):
            yield from (number.low, number.high)
        else:
            yield math.nextafter(number.low, math.inf) if number.exclusive_low else number.low
            yield math.nextafter(number.high, -math.inf) if number.exclusive_high else number.high


def beyond(kind):
    """Yield the values just outside a type's bounds."""
    for number in numbers_of(kind):
        if isinstance(number, Integer):
            yield from (number.low - number.step, number.high + number.step)
        else:
            yield number.low if number.exclusive_low else math.nextafter(number.low, -math.inf)
            yield number.high if number.exclusive_high else math.nextafter(number.high, math.inf)


@pytest.fixture(params=PARTS)
def part(request):
    """A part's name, its config, and the bounds of its class."""
    cfg = composed(*SMALLEST, *PARTS[request.param])
    own = OmegaConf.select(cfg, ".".join(["model", *part_of(request.param)]))
    return request.param, cfg, bounds_of(get_class(own._target_))


def changed(cfg, name, argument, value):
    cfg = copy.deepcopy(cfg)
    OmegaConf.update(cfg, ".".join(["model", *part_of(name), argument]), value, merge=False)
    return cfg


def walked(name, kinds):
    return {key: kind for key, kind in kinds.items() if numbers_of(kind) and key not in DEPENDENT
            and not (name != "model" and key in SHARED_WITH_MODEL)}  # fmt: skip


def test_every_number_of_every_part_has_a_bound(part):
    name, cfg, kinds = part
    own = plain(OmegaConf.select(cfg, ".".join(["model", *part_of(name)])))
    numbers = {key for key, value in own.items() if isinstance(value, int | float | list)}
    assert numbers - {"categories"} <= kinds.keys()
    for key, kind in kinds.items():
        stated = type_of_setting("train", ".".join(["model", *part_of(name), key]))
        assert stated == kind or (key == "categories" and kind in stated.kinds)


def test_what_stands_at_its_end_trains_loads_and_resumes(part):
    name, cfg, kinds = part
    for key, kind in walked(name, kinds).items():
        for value in ends(kind):
            if (name.rpartition(".")[2], key, value) in UNREACHABLE:
                continue
            at_end = changed(cfg, name, key, value)
            if key == "groups":  # the channels must be divisible by groups
                at_end.model.update(residual_channels=value, gate_channels=2 * value)
            preflight.check_run(at_end)  # describes the model, rebuilds it, and reads the config back
            model = build_on_meta(describe(preflight.model_on_meta(at_end)))
            found = describe(model)
            for step in part_of(name):
                found = found[step]
            assert found[key] == value


def test_values_beyond_a_bound_are_refused_everywhere(part):
    name, cfg, kinds = part
    good = describe(preflight.model_on_meta(cfg))
    build_on_meta(good)
    for key, kind in walked(name, kinds).items():
        for value in beyond(kind):
            wrong = changed(cfg, name, key, value)
            with pytest.raises(ValueError, match=rf"^model\..*{key} is .*; it must be "):
                check("train", wrong)
            named = f"({key}|embedding_channels) is "  # which is as many as the residual channels
            with pytest.raises(InstantiationException, match=named), torch.device("meta"):
                instantiate(wrong.model, _convert_="all")
            description = copy.deepcopy(good)
            place = description
            for step in part_of(name):
                place = place[step]
            place[key] = value
            with pytest.raises(ValueError, match=f"the config has {key}="):
                build_on_meta(description)


@pytest.mark.parametrize(
    ("scales", "hold"), [([], 1), ([], 65536), ([1024], 1), ([1] * 16, 1), ([1] * 15 + [1024], 64), ([1], 65536)]
)
def test_factors_of_the_hop_length_at_their_bounds(scales, hold):
    cfg = composed(*SMALLEST, *PARTS["conditioners.features"])
    cfg.model.conditioners.features.hop_length = math.prod(scales) * hold
    cfg.model.conditioners.features.upsampling.update(scales=scales, hold=hold)
    preflight.check_run(cfg)
    for wrong in ({"scales": [1] * 17}, {"scales": [1025]}, {"scales": [0]}, {"hold": 65537}, {"hop_length": 65537}):
        beyond_it, description = copy.deepcopy(cfg), describe(preflight.model_on_meta(cfg))
        for place in (beyond_it.model.conditioners.features, description["conditioners"]["features"]):
            (place if "hop_length" in wrong else place["upsampling"]).update(wrong)
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; it must be"):
            check("train", beyond_it)
        with pytest.raises(ValueError, match=f"the config has {next(iter(wrong))}="):
            build_on_meta(description)


def test_the_ends_of_frequencies_that_fit_together():
    wide = composed(*SMALLEST, *MEL, "model.sample_rate=1000000", "model.conditioners.mel.fmax=500000")
    preflight.check_run(wide)
    high = ["model.conditioners.f0.fmin=125000", "model.conditioners.f0.fmax=250000"]
    preflight.check_run(composed(*SMALLEST, "model/conditioners=[f0]", "model.sample_rate=1000000", *high))


SETTINGS = ["trainer.num_nodes=1", "model.kernel_size=1", "batch_size=1", "segment_length=1", "logger=none"]


def settings():
    cfg = composed(*TINY, *SETTINGS)
    found = []
    for group in ("", "samples", "preparation", "optimizer", "trainer"):
        for name in cfg[group] if group else cfg:
            key = f"{group}.{name}" if group else name
            kind = type_of_setting("train", key)
            if kind is not None and numbers_of(kind) and not isinstance(OmegaConf.select(cfg, key), str):
                found.append(key)
    return found


@pytest.mark.parametrize("key", settings())
def test_a_setting_at_its_end_resumes_and_one_beyond_is_refused(key):
    cfg, kind = composed(*TINY, *SETTINGS), type_of_setting("train", key)
    assert kind is not None
    for value in ends(kind):
        OmegaConf.update(cfg, key, value)
        check("train", cfg)
        assert OmegaConf.select(OmegaConf.create(saved_config.checked_yaml(cfg)), key) == value
    for value in [value for value in beyond(kind) if not kind.accepts(value)]:
        OmegaConf.update(cfg, key, value)
        with pytest.raises(ValueError, match=f"^{key} is .*; it must be "):
            check("train", cfg)
        saved = {name: part for name, part in plain(cfg).items() if name != "trust"}
        with pytest.raises(ValueError, match=f"{key} is .*; it must be "):
            saved_config._read(OmegaConf.to_yaml(OmegaConf.create(saved)), ())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.num_cycles=251", "model.dilation_cycle=2"], "num_cycles make 502 layers; a model has at most 500"),
        (["model.num_cycles=494", "model.kernel_size=1", "model/context=small"], "make 501 layers in all"),
        (["model/context=small", "model.context.dilation_cycle=24"], "1.074e.09 samples; it may have at most 16777216"),
        (["batch_size=32"], "batch_size x segment_length is 32 x 16777216, more than 268435456 samples"),
    ],
)  # fmt: skip
def test_what_all_parts_ask_for_together_is_bounded_before_a_run_too(overrides, message):
    with pytest.raises((ValueError, InstantiationException), match=message):
        preflight.check_run(composed(*SMALLEST, *overrides))


def test_two_filter_banks_are_as_large_as_one_at_most():
    description = describe(preflight.model_on_meta(composed(*SMALLEST, *MEL)))
    description["conditioners"]["two"] = description["conditioners"]["mel"] | {"n_mels": 512}
    with pytest.raises(ValueError, match="the sum of n_mels over all parts is 513; it may be at most 512"):
        build_on_meta(description)


def test_the_bounds_on_sums_allow_what_a_single_part_may_have():
    for name, most in bounds.MAX_TOTALS.items():
        keys = [f"model.distribution.{name}", f"model.conditioners.x.{name}"]
        assert (
            max(number.high for key in keys if (kind := type_of_setting("train", key)) for number in numbers_of(kind))
            <= most
        )


def test_as_many_names_as_there_may_be():
    cfg = composed(*SMALLEST, *PARTS["conditioners.speaker"])
    names = [f"speaker-{k:06d}" for k in range(bounds.MAX_CATEGORIES)]
    cfg.model.conditioners.speaker.categories = names
    check("train", cfg)
    saved_config.checked_yaml(cfg)
    speaker = CategoricalEmbedding("speaker", names, 1)
    conditioners = {"speaker": speaker}
    check_json(describe(WaveNet(MuLawCategorical(), 8000, conditioners, condition_channels=1, dilation_cycle=1)))
    cfg.model.conditioners.speaker.categories.append("one more")
    with pytest.raises(ValueError, match="categories is .*; it must be a list of 1 to 16384"):
        check("train", cfg)
    with pytest.raises(ValueError, match="categories"):
        preflight.check_reloadable(cfg)


def test_names_that_are_too_long_together_are_refused_before_a_run():
    cfg = composed(*SMALLEST, *PARTS["conditioners.speaker"])
    cfg.model.conditioners.speaker.categories = [f"{k}" + "x" * 4000 for k in range(300)]
    with pytest.raises(ValueError, match=r"could not be resumed: has \d+ bytes; at most 1048576 are allowed:"):
        preflight.check_reloadable(cfg)


@pytest.mark.parametrize(
    ("names", "message"),
    [([f"s{k}" for k in range(bounds.MAX_CATEGORIES + 1)], "categories"), (["x" * 5000], "holds the name 'xxx")],
)
def test_a_dataset_whose_names_cannot_be_kept_is_refused_before_the_first_step(
    run, in_tmp, monkeypatch, names, message
):
    monkeypatch.setattr("wavenet.data.Corpus.values", lambda self, name: names)
    with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
        run("train", *TINY, "logger=none", "run_dir=run")
    assert message in str(error.value) and os.listdir() == ["cache"]


def test_a_model_of_1280_channels_trains_loads_and_resumes(run, in_tmp):
    wide = ["model.residual_channels=1280", "model.dilation_cycle=1", "batch_size=5", "num_workers=1"]
    wide += ["samples.seconds=0", "samples.final_seconds=0"]
    run("train", *TINY, *wide, "logger=none", "run_dir=run", "trainer.accumulate_grad_batches=2")
    model = wavenet.load("run")
    assert model.distribution.embedding_channels == 1280
    assert wavenet.load(wavenet.save(model, "saved")).residual_channels == 1280
    run("train", "resume=run", "trainer.max_steps=3")


@pytest.mark.parametrize(
    "setting",
    ["num_workers=300", "batch_size=100000", "segment_length=20000000", "trainer.accumulate_grad_batches=100000",
     "model.residual_channels=4097"],
)  # fmt: skip
def test_what_is_beyond_is_refused_before_anything_is_written(run, in_tmp, setting):
    with pytest.raises(AssertionError, match=r"^exit 2\n[\s\S]*; it must be a whole number from "):
        run("train", *TINY, setting, "run_dir=run")
    assert os.listdir() == []


def test_a_class_of_ones_own_has_the_bounds_of_its_base():
    class Mine(WaveNet):
        def __init__(self, gain: bounds.Annotated[float, Real(0, 10)], **kwargs) -> None:
            super().__init__(**kwargs)

    assert bounds_of(Mine) == {**bounds_of(WaveNet), "gain": Real(0, 10)}

    class Narrow(FileConditioner):
        def __init__(self, name: str, hop_length: int = 64) -> None:
            super().__init__(name, 1, 1, hop_length)

    assert bounds_of(Narrow) == {"hop_length": bounds_of(FileConditioner)["hop_length"]}


def test_every_constructor_refuses_what_is_beyond_its_bounds():
    @checked
    def build(size: bounds.Channels, other: bounds.Channels | None = None) -> tuple:
        return size, other

    assert build(np.int64(3)) == (3, None) and type(build(np.int64(3))[0]) is int
    with pytest.raises(ValueError, match="build: other is 0; it must be a whole number from 1 to 4096, or null"):
        build(1, 0)
    with pytest.raises(TypeError, match="size"):
        build()
    owners = [MuLawCategorical, CategoricalEmbedding, MelConditioner, F0Conditioner, SegmentData, SegmentStream]
    for owner in (*owners, TrainingSegments, Stream, WaveNetTraining):
        assert bounds_of(owner) and hasattr(owner.__init__, "__wrapped__")
    for name in ("seed", "batch_size", "segment_length", "num_workers"):
        assert type_of_setting("train", name) == bounds_of(SegmentData)[name]
    for name, kind in bounds_of(WaveNetTraining).items():
        key = name if name in ("compile", "gradient_checkpointing") else f"optimizer.{name}"
        assert kind in (
            type_of_setting("train", key),
            optional(type_of_setting("train", key)),
        )  # lr is not given with an optimizer
    assert (
        isinstance(type_of_setting("generate", "top_k"), AnyOf)
        and type_of_setting("generate", "seed") == bounds_of(Stream)["seed"]
    )
