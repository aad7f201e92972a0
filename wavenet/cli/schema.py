"""Value types of all settings, which are checked before anything is built, read or written.

The bounds of this package's own constructors and functions are stated there (see `wavenet.bounds`) and collected here.
The types stated here belong to none of them. Upper bounds keep typing errors from taking all memory or time. A
conditioner's key has `*` for its name, unless the same name has different ranges in two of them. Classes of other
packages check their arguments themselves.
"""

import inspect
import re
from typing import Any

from wavenet import bounds, distributions
from wavenet.bounds import bounds_of, type_in_annotation
from wavenet.conditioning import CategoricalEmbedding, Conditioner, F0Conditioner, FileConditioner, MelConditioner
from wavenet.data import prepare
from wavenet.data.libritts import SUBSETS
from wavenet.data.published_split import HELD_OUT
from wavenet.evaluation.bits_per_byte import QUANTIZATIONS
from wavenet.generation import Stream
from wavenet.generation.sampler import SECONDS, UTTERANCES
from wavenet.model import WaveNet
from wavenet.nn import ContextStack, Upsampling
from wavenet.optimizers import SOAP, Muon
from wavenet.types import (
    BOOLEAN,
    AnyOf,
    Dictionary,
    Integer,
    ListOf,
    OneOf,
    PartialClass,
    Real,
    Text,
    TimeSpan,
    ValueType,
    optional,
)

_STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
)  # unsharded
PROFILERS = ("simple", "advanced", "pytorch")  # Lightning's
_MAX_COUNT = 10**9  # of steps and other counts; more than any run needs
_MAX_DEVICES = 256
_DAY = 86400  # seconds
PATH = Text("a path; in a config, one that looks like a number is written ./2024")
_CLASS = Text("a class with its module, such as wavenet.model.WaveNet")
_NAME = Text("a name")
_NAME_OR_NUMBER = Text("a name", numbers=True)
_LIBRITTS = ListOf(OneOf(SUBSETS), 0, len(SUBSETS), "[train-clean-100]")
_PART = re.compile(r"dataset\.parts\.[^.]+")  # of a mix: a dataset in itself
_TRUST = ListOf(Text("a module"), 0, 100, "[mymodel]")


def _types_of(owner: Any, *names: str) -> dict[str, ValueType]:
    """Return the value types of the named arguments, or of all arguments if none is named."""
    bounds = bounds_of(owner)
    return {name: bounds[name] for name in names or bounds}


def _types_in_annotations(**hints: Any) -> dict[str, ValueType]:
    """Return the value types of the annotations that state one."""
    return {name: found for name, hint in hints.items() if (found := type_in_annotation(hint)) is not None}


_OPTIMIZER = _types_in_annotations(  # of WaveNetTraining, whose module is not imported here: it takes seconds
    lr=bounds.LearningRate,
    betas=bounds.Betas,
    weight_decay=bounds.WeightDecay,
    warmup_steps=bounds.Steps,
    final_lr_fraction=bounds.Share,
    schedule=bounds.ScheduleName,
    decay_fraction=bounds.Share,
)
for _part in (Muon, SOAP):
    _OPTIMIZER |= _types_of(_part)
_MODEL: dict[str, ValueType] = {
    "_target_": _CLASS,
    "make_layer": optional(PartialClass()),
    "make_stack": optional(PartialClass()),
}
_MODEL |= _types_of(WaveNet)

_EARLY_STOPPING = _types_in_annotations(patience=bounds.Patience, min_delta=bounds.MinDelta)

PREPARATION: dict[str, ValueType] = {
    "validation_fraction": Real(0, 1, exclusive_high=True, example=0.1),
    "preparation.cache_dir": PATH,
    **{f"preparation.{key}": value_type for key, value_type in _types_of(prepare).items()},
    "dataset._target_": _CLASS,
    "dataset.root": optional(PATH),
    **_types_in_annotations(
        **{
            "dataset.cache_gigabytes": bounds.CacheGigabytes,
            "dataset.weights": bounds.PartWeights | None,
            "dataset.same_speakers": bounds.Flag,
        }
    ),
    "dataset.mic": OneOf(("mic1", "mic2")),
    "dataset.download": BOOLEAN,
    "dataset.held_out": OneOf(HELD_OUT),
    "dataset.stretch": BOOLEAN,
    "dataset.subsets": _LIBRITTS,
    "dataset.held_out_subsets": _LIBRITTS,
    "dataset.speakers_from_folders": BOOLEAN,
    "dataset.licence": optional(Text("a licence's name, such as CC-BY-4.0")),
    "dataset.attribution": optional(Text("the attribution that the licence requires")),
}

_DISTRIBUTION = {"_target_": _CLASS}
for _part in vars(distributions).values():
    if inspect.isclass(_part) and issubclass(_part, distributions.OutputDistribution):
        _DISTRIBUTION |= _types_of(_part)

_CONDITIONERS: dict[str, ValueType] = {"*._target_": _CLASS, "*.name": _NAME}
for _part in (Conditioner, CategoricalEmbedding, FileConditioner, MelConditioner):
    _CONDITIONERS |= {f"*.{key}": value_type for key, value_type in _types_of(_part).items()}
_CONDITIONERS |= {
    f"*.upsampling.{key}": value_type for key, value_type in ({"_target_": _CLASS} | _types_of(Upsampling)).items()
}
_CONDITIONERS["*.categories"] = optional(_CONDITIONERS["*.categories"])  # null is filled in from the dataset
for _key, _type in _types_of(F0Conditioner).items():
    _CONDITIONERS[f"*.{_key}" if _CONDITIONERS.get(f"*.{_key}", _type) == _type else f"f0.{_key}"] = _type

TRAIN: dict[str, ValueType] = {
    "run_dir": PATH,
    "resume": optional(PATH),
    "init_from": optional(PATH),
    "freeze": ListOf(Text("a part of the model"), 0, 1000, "[stack]"),
    "trust": _TRUST,
    **_types_in_annotations(
        seed=bounds.Seed,
        batch_size=bounds.BatchSize,
        segment_length=bounds.SegmentLength,
        num_workers=bounds.Workers,
        compile=bounds.Compile,
        gradient_checkpointing=bounds.Flag,
    ),
    "ema_decay": Real(0, 1, exclusive_high=True, example=0.999),
    "save_every_n_steps": Integer(1, _MAX_COUNT),
    **PREPARATION,
    "samples.seconds": Real(0, 3600, example=0.5),
    "samples.final_seconds": Real(0, 3600, example=2),
    "samples.max_num": Integer(0, 1000),
    "optimizer._target_": _CLASS,
    **{f"optimizer.{key}": value_type for key, value_type in _OPTIMIZER.items()},
    "trainer.max_steps": Integer(1, _MAX_COUNT),
    "trainer.max_time": optional(TimeSpan()),
    "trainer.val_check_interval": Integer(1, _MAX_COUNT),
    "trainer.limit_val_batches": AnyOf((Integer(1, _MAX_COUNT), Real(0, 1, exclusive_low=True))),
    "trainer.gradient_clip_val": optional(Real(0, 1e6, example=1)),
    "trainer.gradient_clip_algorithm": OneOf(("norm", "value")),
    "trainer.accumulate_grad_batches": Integer(1, 2**16),
    "trainer.precision": OneOf(("32-true", "bf16-mixed", "16-mixed")),
    "trainer.timeout": Real(10, _DAY, example=600),
    "trainer.log_every_n_steps": Integer(1, _MAX_COUNT),
    "trainer.enable_progress_bar": BOOLEAN,
    "trainer.accelerator": OneOf(("cpu", "gpu", "cuda", "mps", "auto")),
    "trainer.devices": AnyOf(
        (
            Integer(1, _MAX_DEVICES),
            OneOf((-1, "auto")),
            ListOf(Integer(0, _MAX_DEVICES - 1), 1, _MAX_DEVICES, "[0,1]"),
        )  # -1 is all
    ),
    "trainer.num_nodes": AnyOf((Integer(1, 1024), OneOf(("auto",)))),
    "trainer.strategy": OneOf(_STRATEGIES),
    "trainer.fast_dev_run": AnyOf((BOOLEAN, Integer(1, _MAX_COUNT))),
    "trainer.overfit_batches": Integer(0, _MAX_COUNT),
    "trainer.profiler": optional(OneOf(PROFILERS)),
    "trainer.detect_anomaly": BOOLEAN,
    "trainer.deterministic": OneOf((True, False, "warn", None)),
    "trainer.benchmark": OneOf((True, False, None)),
    "trainer.inference_mode": BOOLEAN,
    "logger._target_": _CLASS,
    "logger.save_dir": PATH,
    "logger.name": AnyOf((_NAME, OneOf(("", None)))),
    "logger.project": _NAME,
    "logger.offline": BOOLEAN,
    "logger.version": AnyOf((_NAME, Integer(0, _MAX_COUNT), OneOf((None,)))),
    "callbacks.*._target_": _CLASS,
    **{f"callbacks.early_stopping.{key}": value_type for key, value_type in _EARLY_STOPPING.items()},
    **{f"model.{key}": value_type for key, value_type in _MODEL.items()},
    **{f"model.distribution.{key}": value_type for key, value_type in _DISTRIBUTION.items()},
    **{
        f"model.context.{key}": value_type
        for key, value_type in ({"_target_": _CLASS} | _types_of(ContextStack)).items()
    },
    **{f"model.conditioners.{key}": value_type for key, value_type in _CONDITIONERS.items()},
}

GENERATE: dict[str, ValueType] = {
    "checkpoint": PATH,
    "trust": _TRUST,
    "output": PATH,
    "sample_rate": optional(_MODEL["sample_rate"]),
    "seconds": optional(SECONDS, ListOf(SECONDS, 1, UTTERANCES.high, "[1,2.5]")),
    "speaker": optional(_NAME_OR_NUMBER, ListOf(_NAME_OR_NUMBER, 1, UTTERANCES.high, "[allison,june]")),
    "mel_from": optional(PATH),
    "mel": optional(PATH),
    "manifest": optional(PATH),
    **_types_in_annotations(batch_size=bounds.BatchSize, engine=bounds.PreparationEngine),
    "conditions": optional(Dictionary("conditions={language: it}")),
    **_types_of(Stream, "num", "seed", "temperature", "top_k", "guidance", "threads", "weights"),
    "prompt": optional(PATH),
    "backend": _NAME,
    "device": Text("a device such as cpu or cuda:0"),
}

EVALUATE: dict[str, ValueType] = {
    "checkpoint": AnyOf((PATH, ListOf(PATH, 1, 32, "[runs/a,runs/b]"))),
    "trust": _TRUST,
    "output": optional(PATH),
    "sample_rate": optional(_MODEL["sample_rate"]),
    "device": GENERATE["device"],
    "weights": GENERATE["weights"],
    "batch_size": optional(GENERATE["batch_size"]),
    "engine": GENERATE["engine"],
    "seed": Integer(0, 2**62),  # each utterance adds its number
    "confidence": Real(0, 1, exclusive_low=True, exclusive_high=True, example=0.95),
    "sounds.seconds": Real(0, 60, example=2),
    "sounds.max_speakers": optional(Integer(1, 10**6)),
    "temperatures": ListOf(GENERATE["temperature"], 1, 100, "[0.9,0.95,1]"),
    "long_term.utterances": Integer(0, 10**6),
    "long_term.seconds": Real(0.1, 3600, example=5),
    "long_term.max_speakers": optional(Integer(1, 10**6)),
    "resynthesis.utterances": Integer(0, 10**6),
    "resynthesis.seconds": Real(0, 3600, exclusive_low=True, example=10),
    "resynthesis.temperature": GENERATE["temperature"],
    "speed.seconds": Real(0, 600, example=2),
    "bits_per_byte.clip_seconds": optional(Real(0.01, _DAY, example=1)),
    "bits_per_byte.quantization": OneOf(QUANTIZATIONS),
    "bits_per_byte.stretch": BOOLEAN,
    "bits_per_byte.drop_rest": BOOLEAN,
    **PREPARATION,
    "validation_fraction": Real(0, 1, example=0.1),  # of a dataset that was not trained on: 1
}

DEMO: dict[str, ValueType] = {
    "checkpoint": PATH,
    "trust": _TRUST,
    "host": OneOf(("127.0.0.1", "::1", "localhost"), "the page has no passwords, so only this machine may reach it"),
    "port": Integer(0, 65535),
    "open_browser": BOOLEAN,
    "max_seconds": Real(0, 3600, exclusive_low=True, example=30),
    "max_upload_mb": Real(0, 1024, exclusive_low=True, example=32),
    "max_concurrent": Integer(1, 32),  # each has a thread
    **{key: GENERATE[key] for key in ("backend", "threads", "weights", "device")},
}

PUSH: dict[str, ValueType] = {
    "checkpoint": PATH,
    "trust": _TRUST,
    "repo": Text("a repository on the Hugging Face Hub, such as june/wavenet-june"),
    "private": BOOLEAN,
    "revision": optional(Text("a branch")),
    "message": Text("a line of text"),
}

EXPORT_ONNX: dict[str, ValueType] = {"checkpoint": PATH, "trust": _TRUST, "output": PATH}

IMPORT: dict[str, ValueType] = {"checkpoint": PATH, "hparams": optional(PATH), "output": PATH}

PREPARE: dict[str, ValueType] = {
    **TRAIN,  # an experiment has settings of training
    "output": PATH,
    **_types_in_annotations(
        **{
            "shards.dtype": bounds.StoredSamples,
            "shards.megabytes": bounds.ShardMegabytes,
            "preparation.engine": bounds.PreparationEngine,
        }
    ),
}

SCHEMA: dict[str, dict[str, ValueType]] = {
    "train": TRAIN,
    "generate": GENERATE,
    "evaluate": EVALUATE,
    "demo": DEMO,
    "push": PUSH,
    "export_onnx": EXPORT_ONNX,
    "import": IMPORT,
    "prepare": PREPARE,
}


_NAMED_PARTS = ("model.conditioners.", "callbacks.")  # groups of parts whose names are free


def is_dataset(group: str) -> bool:
    """Return whether a group of settings is a dataset's: "dataset" itself, or a part of a mix, "dataset.parts.NAME"."""
    return group == "dataset" or _PART.fullmatch(group) is not None


def type_of_setting(command: str, key: str) -> ValueType | None:
    """Return the value type of a setting, or None if there is no entry for it.

    >>> str(type_of_setting("train", "model.conditioners.mel.dropout"))
    'a number of at least 0 and below 1, such as 0.1'
    >>> type_of_setting("train", "dataset.parts.mine.root") is type_of_setting("train", "dataset.root")
    True
    """
    table, key = SCHEMA[command], re.sub(rf"^{_PART.pattern}\.", "dataset.", key)
    if key in table:
        return table[key]
    for parts in _NAMED_PARTS:
        name, _, rest = key.removeprefix(parts).partition(".")
        if key.startswith(parts) and name:
            return table.get(f"{parts}*.{rest}")
    return None
