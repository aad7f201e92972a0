"""Every setting's range: what stands here is looked at before anything is built, read or written.

Lower ends are what the parts need. Upper ends keep slips of the finger from taking all memory or
time; whoever needs more raises them here. A conditioner's key has `*` for its name, unless the same
name has different ranges in two of them. What other packages' classes take, they check themselves.
"""

from wavenet.cli.kinds import FLAG, Either, Kind, ListOf, Real, Table, Text, Whole, Word, or_null
from wavenet.conditioning.frames import EDGES
from wavenet.evaluation.bytes import QUANTIZATIONS
from wavenet.native import WEIGHTS
from wavenet.nn.upsampling import ACTIVATIONS, KINDS

_COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # of torch.compile
_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")  # whole weights
_OFTEN = 10**9  # steps, or anything counted; more than any run takes
_CHANNELS = 4096
_PROCESSES = 1024
_DAY = 86400  # seconds
_PATH = Text("a path; one that looks like a number is written ./2024")
_CLASS = Text("a class with its module, such as wavenet.model.WaveNet")
_NAME = Text("a name")
_CALLED = Text("a name", numbers=True)
_HERTZ = 1e6
_TRUST = ListOf(Text("a module"), 0, 100, "[mymodel]")

PREPARATION: dict[str, Kind] = {
    "validation_fraction": Real(0, 1, below=True, such=0.1),
    "preparation.cache_dir": _PATH,
    "preparation.trim_db": or_null(Real(0, 200, above=True, such=40)),
    "preparation.min_seconds": Real(0, _DAY, such=0.1),
    "preparation.num_processes": or_null(Whole(0, _PROCESSES)),
    "dataset._target_": _CLASS,
    "dataset.root": or_null(_PATH),
    "dataset.mic": Word(("mic1", "mic2")),
    "dataset.download": FLAG,
    "dataset.speakers_from_folders": FLAG,
    "dataset.licence": or_null(Text("a licence's name, such as CC-BY-4.0")),
    "dataset.attribution": or_null(Text("whom to name, and as what")),
}

_MODEL: dict[str, Kind] = {
    "_target_": _CLASS,
    "sample_rate": Whole(100, 768_000),  # Hz
    "residual_channels": Whole(1, _CHANNELS),
    "gate_channels": Whole(2, _CHANNELS, step=2),
    "skip_channels": Whole(1, _CHANNELS),
    "condition_channels": Whole(1, _CHANNELS),
    "kernel_size": Whole(1, 1024),
    "dilation_cycle": Whole(1, 24),  # 2**24 samples are minutes
    "num_cycles": Whole(1, 100),
    "input_kernel_size": Whole(1, 1024),
    "bias": FLAG,
    "input_bias": FLAG,
    "head_channels": or_null(Whole(1, _CHANNELS)),
    "output_projection": FLAG,
    "groups": Whole(1, _CHANNELS),
    "dropout": Real(0, 1, below=True, such=0.1),
    "residual_scale": Real(0, 1, above=True, such=0.7071),
    "last_residual": FLAG,
    "weight_norm": FLAG,
}

_DISTRIBUTION: dict[str, Kind] = {
    "_target_": _CLASS,
    "num_classes": Whole(2, 65536),  # as fine as 16-bit audio
    "embedding_channels": Whole(1, _CHANNELS),
    "num_mixtures": Whole(1, 1024),
    "bits": Whole(2, 16),
    "encoding_channels": Whole(1, _CHANNELS),
    "log_scale_min": Real(-30, 0, such=-9),
}

_OF_CONTEXT = ("_target_", "residual_channels", "gate_channels", "skip_channels", "condition_channels", "kernel_size",
               "dilation_cycle", "num_cycles")  # fmt: skip
_CONTEXT: dict[str, Kind] = {
    **{key: kind for key, kind in _MODEL.items() if key in _OF_CONTEXT},
    "pool": Whole(1, 65536),  # samples
}

_CONDITIONERS: dict[str, Kind] = {
    "*._target_": _CLASS,
    "*.name": _NAME,
    "*.categories": or_null(ListOf(_CALLED, 1, 10**6, "[allison,june]")),
    "*.sample_rate": _MODEL["sample_rate"],
    "*.condition_channels": Whole(1, _CHANNELS),
    "*.num_channels": Whole(1, _CHANNELS),
    "*.n_fft": Whole(2, 32768, step=2),
    "*.n_mels": Whole(1, 1024),
    "*.hop_length": Whole(1, 65536),  # samples
    "f0.fmin": Real(0, _HERTZ, above=True, such=60),
    "f0.fmax": Real(0, _HERTZ, above=True, such=500),
    "*.fmin": Real(0, _HERTZ),
    "*.fmax": or_null(Real(0, _HERTZ, above=True)),
    "*.floor": Real(0, 1, above=True, such=1e-5),
    "*.mean": Real(-1000, 1000, such=-5),
    "*.std": Real(0, 1000, above=True, such=2.2),
    "*.centre": Real(0, _HERTZ, above=True, such=150),
    "*.spread": Real(0, 1000, above=True, such=0.4),
    "*.scales": ListOf(Whole(1, 1024), 0, 16, "[4,4]"),
    "*.hold": Whole(1, 65536),  # samples
    "*.upsampling": Word(KINDS),
    "*.freq_kernel_size": Whole(1, 63, step=2),
    "*.context_frames": Whole(0, 1000),
    "*.hidden_channels": Whole(1, _CHANNELS),
    "*.dropout": Real(0, 1, below=True, such=0.1),
    "*.edges": Word(EDGES),
    "*.activation": Word(ACTIVATIONS),
    "*.upsampling_bias": FLAG,
}

TRAIN: dict[str, Kind] = {
    "seed": Whole(0, 2**32 - 1),
    "run_dir": _PATH,
    "resume": or_null(_PATH),
    "trust": _TRUST,
    "batch_size": Whole(1, 2**20),
    "segment_length": Whole(1, 2**31),  # samples
    "num_workers": Whole(0, _PROCESSES),
    "ema_decay": Real(0, 1, below=True, such=0.999),
    "save_every_n_steps": Whole(1, _OFTEN),
    "compile": Either((FLAG, Word(_COMPILE_MODES))),
    "gradient_checkpointing": FLAG,
    **PREPARATION,
    "samples.seconds": Real(0, 3600, such=0.5),
    "samples.final_seconds": Real(0, 3600, such=2),
    "samples.max_num": Whole(0, 1000),
    "optimizer._target_": _CLASS,
    "optimizer.lr": Real(0, 1, above=True, below=True, such=0.001),
    "optimizer.betas": ListOf(Real(0, 1, below=True), 2, 2, "[0.9,0.99]"),
    "optimizer.weight_decay": Real(0, 100, such=0.01),
    "optimizer.warmup_steps": Whole(0, _OFTEN),
    "optimizer.final_lr_fraction": Real(0, 1, such=0.05),
    "trainer.max_steps": Whole(1, _OFTEN),
    "trainer.val_check_interval": Whole(1, _OFTEN),
    "trainer.limit_val_batches": Either((Whole(1, _OFTEN), Real(0, 1, above=True))),
    "trainer.gradient_clip_val": or_null(Real(0, 1e6, such=1)),
    "trainer.accumulate_grad_batches": Whole(1, 2**20),
    "trainer.precision": Word(("32-true", "bf16-mixed", "16-mixed")),
    "trainer.log_every_n_steps": Whole(1, _OFTEN),
    "trainer.enable_progress_bar": FLAG,
    "trainer.accelerator": Word(("cpu", "gpu", "cuda", "mps", "auto")),
    "trainer.devices": Either(
        (Whole(1, 10**6), Word((-1, "auto")), ListOf(Whole(0, 10**6), 1, 1024, "[0,1]"))  # -1 is all
    ),
    "trainer.num_nodes": Whole(1, 10**6),
    "trainer.strategy": Word(_STRATEGIES),
    "logger._target_": _CLASS,
    "logger.save_dir": _PATH,
    "logger.name": Either((_NAME, Word(("", None)))),
    "logger.project": _NAME,
    "logger.offline": FLAG,
    "logger.version": Either((_NAME, Whole(0, _OFTEN), Word((None,)))),
    **{f"model.{key}": kind for key, kind in _MODEL.items()},
    **{f"model.distribution.{key}": kind for key, kind in _DISTRIBUTION.items()},
    **{f"model.context.{key}": kind for key, kind in _CONTEXT.items()},
    **{f"model.conditioners.{key}": kind for key, kind in _CONDITIONERS.items()},
}

_LENGTH = Real(0, _DAY, above=True, such=2)  # seconds

GENERATE: dict[str, Kind] = {
    "checkpoint": _PATH,
    "trust": _TRUST,
    "output": _PATH,
    "sample_rate": or_null(_MODEL["sample_rate"]),
    "seconds": or_null(_LENGTH, ListOf(_LENGTH, 1, 65536, "[1,2.5]")),
    "num": Whole(1, 65536),
    "speaker": or_null(_CALLED, ListOf(_CALLED, 1, 65536, "[allison,june]")),
    "mel_from": or_null(_PATH),
    "mel": or_null(_PATH),
    "conditions": or_null(Table("conditions={language: it}")),
    "guidance": Real(-1000, 1000, such=1),
    "seed": Whole(0, 2**63 - 1),
    "temperature": Real(0, 1000, such=1),
    "top_k": or_null(Whole(1, 65536)),
    "prompt": or_null(_PATH),
    "backend": _NAME,
    "threads": or_null(Whole(1, _PROCESSES)),
    "weights": Word(tuple(WEIGHTS)),
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
