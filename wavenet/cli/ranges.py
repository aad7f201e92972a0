"""Every setting's range: what stands here is looked at before anything is built, read or written.

What a constructor or a function of ours takes is stated there (see `wavenet.bounds`), and read here. What stands here
itself belongs to none of them. Upper ends keep slips of the finger from taking all memory or time. A conditioner's key
has `*` for its name, unless the same name has different ranges in two of them. What other packages' classes take, they
check themselves.
"""

from typing import Any

from wavenet import bounds
from wavenet.bounds import bounds_of, stated_by
from wavenet.conditioning import CategoricalEmbedding, Conditioner, F0Conditioner, FileConditioner, MelConditioner
from wavenet.data import prepare
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical
from wavenet.evaluation.bytes import QUANTIZATIONS
from wavenet.generation import Stream
from wavenet.generation.sampler import SECONDS, UTTERANCES
from wavenet.kinds import FLAG, Either, Kind, ListOf, Maker, Real, Table, Text, Whole, Word, or_null
from wavenet.model import WaveNet
from wavenet.nn import ContextStack

_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")  # whole weights
_OFTEN = 10**9  # steps, or anything counted; more than any run takes
_MOST_DEVICES = 256
_DAY = 86400  # seconds
_PATH = Text("a path; one that looks like a number is written ./2024")
_CLASS = Text("a class with its module, such as wavenet.model.WaveNet")
_NAME = Text("a name")
_CALLED = Text("a name", numbers=True)
_TRUST = ListOf(Text("a module"), 0, 100, "[mymodel]")


def _from(owner: Any, *names: str) -> dict[str, Kind]:
    """The stated kinds of some arguments; all of them if none is named."""
    bounds = bounds_of(owner)
    return {name: bounds[name] for name in names or bounds}


def _stated(**hints: Any) -> dict[str, Kind]:
    """The kinds of annotations that have one."""
    return {name: kind for name, hint in hints.items() if (kind := stated_by(hint)) is not None}


_OPTIMIZER = _stated(  # of WaveNetTraining: its module knows Lightning, whose import takes seconds
    lr=bounds.LearningRate,
    betas=bounds.Betas,
    weight_decay=bounds.WeightDecay,
    warmup_steps=bounds.Steps,
    final_lr_fraction=bounds.Share,
)
_MODEL: dict[str, Kind] = {"_target_": _CLASS, "make_layer": or_null(Maker()), "make_stack": or_null(Maker())}
_MODEL |= _from(WaveNet)

PREPARATION: dict[str, Kind] = {
    "validation_fraction": Real(0, 1, below=True, such=0.1),
    "preparation.cache_dir": _PATH,
    **{f"preparation.{key}": kind for key, kind in _from(prepare).items()},
    "dataset._target_": _CLASS,
    "dataset.root": or_null(_PATH),
    "dataset.mic": Word(("mic1", "mic2")),
    "dataset.download": FLAG,
    "dataset.speakers_from_folders": FLAG,
    "dataset.licence": or_null(Text("a licence's name, such as CC-BY-4.0")),
    "dataset.attribution": or_null(Text("whom to name, and as what")),
}

_DISTRIBUTION = {"_target_": _CLASS}
for _part in (MuLawCategorical, GaussianMixture, LogisticMixture):
    _DISTRIBUTION |= _from(_part)

_CONDITIONERS: dict[str, Kind] = {"*._target_": _CLASS, "*.name": _NAME}
for _part in (Conditioner, CategoricalEmbedding, FileConditioner, MelConditioner):
    _CONDITIONERS |= {f"*.{key}": kind for key, kind in _from(_part).items()}
_CONDITIONERS["*.categories"] = or_null(_CONDITIONERS["*.categories"])  # null is filled in
for _key, _kind in _from(F0Conditioner).items():
    _CONDITIONERS[f"*.{_key}" if _CONDITIONERS.get(f"*.{_key}", _kind) == _kind else f"f0.{_key}"] = _kind

TRAIN: dict[str, Kind] = {
    "run_dir": _PATH,
    "resume": or_null(_PATH),
    "trust": _TRUST,
    **_stated(
        seed=bounds.Seed,
        batch_size=bounds.BatchSize,
        segment_length=bounds.SegmentLength,
        num_workers=bounds.Workers,
        compile=bounds.Compile,
        gradient_checkpointing=bounds.Flag,
    ),
    "ema_decay": Real(0, 1, below=True, such=0.999),
    "save_every_n_steps": Whole(1, _OFTEN),
    **PREPARATION,
    "samples.seconds": Real(0, 3600, such=0.5),
    "samples.final_seconds": Real(0, 3600, such=2),
    "samples.max_num": Whole(0, 1000),
    "optimizer._target_": _CLASS,
    **{f"optimizer.{key}": kind for key, kind in _OPTIMIZER.items()},
    "trainer.max_steps": Whole(1, _OFTEN),
    "trainer.val_check_interval": Whole(1, _OFTEN),
    "trainer.limit_val_batches": Either((Whole(1, _OFTEN), Real(0, 1, above=True))),
    "trainer.gradient_clip_val": or_null(Real(0, 1e6, such=1)),
    "trainer.accumulate_grad_batches": Whole(1, 2**16),
    "trainer.precision": Word(("32-true", "bf16-mixed", "16-mixed")),
    "trainer.log_every_n_steps": Whole(1, _OFTEN),
    "trainer.enable_progress_bar": FLAG,
    "trainer.accelerator": Word(("cpu", "gpu", "cuda", "mps", "auto")),
    "trainer.devices": Either(
        (
            Whole(1, _MOST_DEVICES),
            Word((-1, "auto")),
            ListOf(Whole(0, _MOST_DEVICES - 1), 1, _MOST_DEVICES, "[0,1]"),
        )  # -1 is all
    ),
    "trainer.num_nodes": Whole(1, 1024),
    "trainer.strategy": Word(_STRATEGIES),
    "logger._target_": _CLASS,
    "logger.save_dir": _PATH,
    "logger.name": Either((_NAME, Word(("", None)))),
    "logger.project": _NAME,
    "logger.offline": FLAG,
    "logger.version": Either((_NAME, Whole(0, _OFTEN), Word((None,)))),
    **{f"model.{key}": kind for key, kind in _MODEL.items()},
    **{f"model.distribution.{key}": kind for key, kind in _DISTRIBUTION.items()},
    **{f"model.context.{key}": kind for key, kind in ({"_target_": _CLASS} | _from(ContextStack)).items()},
    **{f"model.conditioners.{key}": kind for key, kind in _CONDITIONERS.items()},
}

GENERATE: dict[str, Kind] = {
    "checkpoint": _PATH,
    "trust": _TRUST,
    "output": _PATH,
    "sample_rate": or_null(_MODEL["sample_rate"]),
    "seconds": or_null(SECONDS, ListOf(SECONDS, 1, UTTERANCES.high, "[1,2.5]")),
    "speaker": or_null(_CALLED, ListOf(_CALLED, 1, UTTERANCES.high, "[allison,june]")),
    "mel_from": or_null(_PATH),
    "mel": or_null(_PATH),
    "conditions": or_null(Table("conditions={language: it}")),
    **_from(Stream, "num", "seed", "temperature", "top_k", "guidance", "threads", "weights"),
    "prompt": or_null(_PATH),
    "backend": _NAME,
    "device": Text("a device such as cpu or cuda:0"),
}

EVALUATE: dict[str, Kind] = {
    "checkpoint": Either((_PATH, ListOf(_PATH, 1, 32, "[runs/a,runs/b]"))),
    "trust": _TRUST,
    "output": or_null(_PATH),
    "sample_rate": or_null(_MODEL["sample_rate"]),
    "device": GENERATE["device"],
    "weights": GENERATE["weights"],
    "seed": Whole(0, 2**62),  # and more for each utterance
    "confidence": Real(0, 1, above=True, below=True, such=0.95),
    "sounds.seconds": Real(0, 60, such=2),
    "sounds.max_speakers": or_null(Whole(1, 10**6)),
    "resynthesis.utterances": Whole(0, 10**6),
    "resynthesis.seconds": Real(0, 3600, above=True, such=10),
    "speed.seconds": Real(0, 600, such=2),
    "bits_per_byte.clip_seconds": or_null(Real(0.01, _DAY, such=1)),
    "bits_per_byte.quantization": Word(QUANTIZATIONS),
    "bits_per_byte.stretch": FLAG,
    "bits_per_byte.drop_rest": FLAG,
    **PREPARATION,
}

DEMO: dict[str, Kind] = {
    "checkpoint": _PATH,
    "trust": _TRUST,
    "host": Word(("127.0.0.1", "::1", "localhost"), "the page knows no passwords, so only this machine may reach it"),
    "port": Whole(0, 65535),
    "open_browser": FLAG,
    "max_seconds": Real(0, 3600, above=True, such=30),
    "max_upload_mb": Real(0, 1024, above=True, such=32),
    "max_concurrent": Whole(1, 32),  # each has a thread
    **{key: GENERATE[key] for key in ("backend", "threads", "weights", "device")},
}

PUSH: dict[str, Kind] = {
    "checkpoint": _PATH,
    "trust": _TRUST,
    "repo": Text("a repository on the Hugging Face Hub, such as june/wavenet-june"),
    "private": FLAG,
    "revision": or_null(Text("a branch")),
    "message": Text("a line of text"),
}

EXPORT_ONNX: dict[str, Kind] = {"checkpoint": _PATH, "trust": _TRUST, "output": _PATH}

IMPORT: dict[str, Kind] = {"checkpoint": _PATH, "hparams": or_null(_PATH), "output": _PATH}

RANGES: dict[str, dict[str, Kind]] = {
    "train": TRAIN,
    "generate": GENERATE,
    "evaluate": EVALUATE,
    "demo": DEMO,
    "push": PUSH,
    "export_onnx": EXPORT_ONNX,
    "import": IMPORT,
}


def kind_of(command: str, key: str) -> Kind | None:
    """The kind of a setting, or None if there is no entry for it.

    >>> str(kind_of("train", "model.conditioners.mel.dropout"))
    'a number of at least 0 and below 1, such as 0.1'
    """
    table = RANGES[command]
    if key in table:
        return table[key]
    group, _, rest = key.removeprefix("model.conditioners.").partition(".")
    return table.get(f"model.conditioners.*.{rest}") if key.startswith("model.conditioners.") and group else None
