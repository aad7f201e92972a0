"""Fixtures: real speech, small models, and the commands as functions."""

import csv
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tests run side by side; before torch, which reads it once
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores, so a core for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import soundfile
import torch
from hydra.core.global_hydra import GlobalHydra

from wavenet import WaveNet
from wavenet.audio import read, resample, write
from wavenet.conditioning import CategoricalEmbedding, Conditioner
from wavenet.distributions import Mixture, MuLawCategorical, OutputDistribution
from wavenet.nn import Condition

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROMPTS = ROOT / "data" / "prompts"
TINY = [  # settings with which any configuration runs in seconds
    "model.residual_channels=8",
    "model.gate_channels=8",
    "model.skip_channels=8",
    "model.condition_channels=4",
    "model.kernel_size=2",
    "model.dilation_cycle=3",
    "model.num_cycles=1",
    "model.sample_rate=8000",
    "batch_size=2",
    "segment_length=400",
    "samples.seconds=0.02",
    "samples.final_seconds=0.02",
    "trainer.max_steps=2",
    "trainer.limit_val_batches=2",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.precision=32-true",
]
LONGEST = (
    "tests/benchmark/test_benchmark.py",
    "tests/benchmark/test_configs.py",
    "tests/exchange/test_onnx.py",
    "tests/generation/test_",
    "tests/reliability/test_kill.py",
    "tests/test_large_corpora.py",
    "tests/test_learning.py",
    "tests/test_own_parts.py",
    "tests/test_package_model.py",
    "tests/test_readme.py",
    "tests/training/test_clusters.py",
    "tests/training/test_process_monitor.py",
    "tests/training/test_training.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that run a command as slow, and put the longest files first: no process waits for them at the end."""
    for item in items:
        if "run" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _forgotten_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget the modules that a test has imported from a temporary folder: another test may have one of that name."""
    path, folder = list(sys.path), str(tmp_path_factory.getbasetemp())
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__dict__", {}).get("__file__")).startswith(folder):
            del sys.modules[name]


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder with its own cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAVENET_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real recordings, four of each speaker, in one folder per speaker."""
    root = tmp_path_factory.mktemp("speech")
    for speaker in ("allison", "carlo", "june"):
        (root / speaker).mkdir()
        for number in range(1, 5):
            shutil.copy(PROMPTS / speaker / f"{speaker}_{number:03d}.flac", root / speaker)
    return root


@pytest.fixture(scope="session")
def vctk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real recordings in the layout of VCTK 0.92, at 48 kHz, with that corpus's known faults."""
    root = tmp_path_factory.mktemp("vctk")
    corpus = root / "VCTK-Corpus-0.92"
    with (PROMPTS / "index.csv").open(newline="") as file:
        sources = iter([row["file"] for row in csv.DictReader(file) if float(row["seconds"]) < 2])
    mics = {"p225": ["mic1", "mic2"], "p280": ["mic1"], "p315": ["mic1"], "p362": ["mic1", "mic2"], "s5": ["mic2"]}
    for speaker, available in mics.items():
        folder, texts = corpus / "wav48_silence_trimmed" / speaker, corpus / "txt" / speaker
        folder.mkdir(parents=True)
        if speaker != "p315":
            texts.mkdir(parents=True)
        for number in (1, 2, 3):
            waveform, rate = read(PROMPTS / next(sources))
            for mic in available:
                write(folder / f"{speaker}_{number:03d}_{mic}.flac", resample(waveform, rate, 48000), 48000)
            if speaker != "p315":
                (texts / f"{speaker}_{number:03d}.txt").write_text("Words.\n")
    (corpus / "txt" / "p362" / "p362_004.txt").write_text("Nobody read this.\n")
    (corpus / "txt" / ".DS_Store").write_bytes(b"\0")
    (corpus / "wav48_silence_trimmed" / ".DS_Store").write_bytes(b"\0")
    (corpus / "speaker-info.txt").write_text(
        "ID  AGE  GENDER  ACCENTS  REGION COMMENTS\np225  23  F    English    New England\n"
    )
    return root


@pytest.fixture
def small() -> Callable[..., WaveNet]:
    """Return a function that builds a small model with random weights."""

    def make(
        speakers: tuple[str, ...] = (),
        dtype: torch.dtype = torch.float32,
        conditioner: type[Conditioner] | None = None,
        distribution: Callable[[], OutputDistribution] = lambda: MuLawCategorical(16, 5),
        **numbers: int,
    ) -> WaveNet:
        sizes = {"residual_channels": 6, "gate_channels": 8, "skip_channels": 10, "condition_channels": 3}
        sizes |= {"kernel_size": 2, "dilation_cycle": 3, "num_cycles": 2} | numbers
        conditioners = {}
        if speakers:
            conditioners["speaker"] = CategoricalEmbedding("speaker", speakers, sizes["condition_channels"])
        if conditioner is not None:
            conditioners[conditioner.__name__.lower()] = conditioner()
        model = WaveNet(distribution(), 2000, conditioners, **sizes).to(dtype).eval()
        return lively(model)

    return make


@torch.no_grad()
def lively(model: WaveNet) -> WaveNet:
    """Scale a new model's weights, so that the past matters and the samples are not all at full scale."""
    for parameter in model.parameters():
        parameter.mul_(2)
    if isinstance(model.distribution, Mixture):
        count = model.distribution.num_mixtures
        model.head[3].weight[-2 * count : -count] /= 4
        model.head[3].bias[-2 * count : -count] = 0
        model.head[3].bias[-count:] -= 5 + 2 * model.distribution.first_log_scale  # the bias was doubled above
    return model


class Contour(Conditioner):
    """A condition that changes with time: three channels computed from one number per sample."""

    def __init__(self) -> None:
        super().__init__("contour", 3)
        self.weight = torch.nn.Parameter(torch.randn(1, 3, 1))

    def read(self, conditions, batch_size):
        values = self.weight * conditions["contour"]
        return Condition(values, hop_length=1 if values.shape[-1] > 1 else None)


@pytest.fixture
def contour() -> type[Conditioner]:
    return Contour


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command in this process and returns its output, or raises if it failed."""

    def call(command: str, *overrides: str) -> str:
        from importlib import import_module

        GlobalHydra.instance().clear()
        main = import_module(f"wavenet.cli.{command}").main
        monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / f"{command}.py"), *overrides])
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            captured = capsys.readouterr()
            raise AssertionError(f"exit {end.code}\n{captured.out}\n{captured.err}") from end
        captured = capsys.readouterr()
        return captured.out + captured.err

    return call


def duration(path: Path) -> float:
    """Return the duration of an audio file in seconds."""
    info = soundfile.info(path)
    return info.frames / info.samplerate
