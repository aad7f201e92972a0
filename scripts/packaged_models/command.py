"""The command of `scripts/package_model.py`."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import compose
from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from wavenet.atomic_files import atomic_folder, os_error_reason, write_text
from wavenet.audio import looks_like_audio
from wavenet.checkpoint import check_metadata, load, read_json, save
from wavenet.checkpoint.card import card
from wavenet.checkpoint.folder import CARD, CONFIG
from wavenet.checkpoint.scores import EVALUATION, summary_of
from wavenet.cli.built import make_dataset
from wavenet.cli.composition import hydra_in
from wavenet.cli.config_files import config_dir
from wavenet.cli.errors import explain_composition_error
from wavenet.cli.output import checked_output
from wavenet.cli.preflight import check_run
from wavenet.cli.quoting import quoted
from wavenet.cli.saved_config import load_saved_config
from wavenet.data import Dataset
from wavenet.data.folder import Folder
from wavenet.data.origin import UNKNOWN
from wavenet.data.prompts import Prompts
from wavenet.extras import install_command
from wavenet.model import WaveNet

LIMIT = 5_000_000  # bytes of a model's folder: each is in every wheel
UNHEARD = "unheard.json"  # beside the evaluation of the run's own held-out recordings
_PREFIX = "packaged_"
_RESYNTHESISED = "resynthesis.utterances=10"  # of each speaker
_MEASURING = ("librosa", "pesq", "pystoi")
_PLACES = ("run_dir", "models", "preparation.cache_dir", "logger")  # say nothing about the model


@dataclass
class Request:
    """What the command line asks for.

    Attributes:
        name: The model's name.
        unheard: Folder of recordings of speakers that are not trained on, or "prompts"; None for none.
        models: The folder for the model's folder.
        run: The run's folder.
        training: Settings of training.
        evaluation: Settings of both evaluations.
        text: The command line without its folders, for the card.
    """

    name: str
    unheard: str | None = None
    models: Path = Path("data/models")
    run: Path = Path()
    training: list[str] = field(default_factory=list)
    evaluation: list[str] = field(default_factory=list)
    text: str = ""


@checked_output("package_model")
def main(arguments: Sequence[str], usage: str) -> None:
    """Train or resume the model's run, evaluate it, and write data/models/NAME; a mistake ends it with one line."""
    names = sorted(path.stem.removeprefix(_PREFIX) for path in (config_dir() / "experiment").glob(f"{_PREFIX}*.yaml"))
    if not arguments or arguments[0] not in names:
        _end(f"{arguments[0]}: no such model; known are {', '.join(names)}" if arguments else usage.strip())
    request = parse(arguments)
    try:
        folder = make(request)
    except (HydraException, OmegaConfBaseException) as error:
        _end(explain_composition_error(error, "train", config_dir(), request.training))
    except OSError as error:
        _end(f"{error.filename}: {os_error_reason(error)}")
    except (ValueError, ModuleNotFoundError, InstantiationException) as error:
        _end(str(error))
    print(f"written to {folder}: {size_of(folder) / 1e6:.2f} MB")


def parse(arguments: Sequence[str]) -> Request:
    """Sort the command line's settings."""
    name, *settings = arguments
    request, shown = Request(name, run=Path("runs") / f"packaged-{name}"), [name]
    for setting in settings:
        key, _, value = setting.partition("=")
        if key == "unheard":
            request.unheard = value
        elif key == "models":
            request.models = Path(value)
        elif key == "run_dir":
            request.run = Path(value)
        elif key.startswith("evaluate."):
            request.evaluation.append(setting.removeprefix("evaluate."))
        else:
            request.training.append(setting)
        if key not in _PLACES:  # and of the other folders, only the name
            shown.append(f"{key}={Path(value).name}" if "/" in value else setting)
    request.text = f"python scripts/package_model.py {' '.join(shown)}"
    return request


def make(request: Request) -> Path:
    """Make the model.

    Returns:
        Its folder.

    Raises:
        ValueError: If the model is too large, the licence of its recordings is not known, it cannot be measured as
            requested, or its run or its folder cannot be used.
    """
    saved = request.run / "config.yaml"
    if not saved.is_file():
        _check_before_training(request)
        _call("train", f"experiment={_PREFIX}{request.name}", f"run_dir={request.run}", *request.training)
    elif request.training or not _is_complete(request.run):
        _call("train", f"resume={request.run}", *request.training)
    cache = yaml.safe_load(saved.read_text(encoding="utf-8"))["preparation"]["cache_dir"]
    dataset = make_dataset(load_saved_config(saved, cache).dataset)
    _check(request, load(request.run), dataset)
    _evaluate(request)
    model = load(request.run)  # now with its scores
    metadata = {**(model.metadata or {}), "command": request.text}
    if "evaluation" not in metadata:
        path = request.run / EVALUATION
        raise ValueError(f"{path}: has no scores of this model; leave out evaluate.weights and evaluate.output")
    if request.unheard is not None:
        metadata["evaluation"] |= {"unheard": summary_of(read_json(request.run / UNHEARD))}
    model.metadata = check_metadata(metadata)
    return write(model, request)


def write(model: WaveNet, request: Request) -> Path:
    """Write the model's folder, whole or not at all: what `save` writes, its card by its own name, and the reports.

    Raises:
        ValueError: If it is larger than `LIMIT`, or the folder holds something else.
    """
    folder = request.models / request.name
    with tempfile.TemporaryDirectory() as temporary:
        saved = save(model, Path(temporary) / request.name)
        write_text(saved / CARD, card(model, request.name))
        for name in [EVALUATION, *([] if request.unheard is None else [UNHEARD])]:
            report: Any = read_json(request.run / name)
            write_text(saved / name, json.dumps(report | {"checkpoint": request.name}, indent=2) + "\n")
        _check_size(size_of(saved), request.name)
        with atomic_folder(folder, sign=CONFIG) as beside:
            shutil.copytree(saved, beside, dirs_exist_ok=True)
    return folder


def size_of(folder: Path) -> int:
    """Return the size of the files in a model's folder, in bytes."""
    return sum(path.stat().st_size for path in folder.iterdir())


def _check_before_training(request: Request) -> None:
    """Check what would be refused after hours of training."""
    experiment = f"experiment={_PREFIX}{request.name}"
    with hydra_in(config_dir()):
        cfg = compose("train", [experiment, *quoted("train", request.training)])
    model = check_run(cfg)
    _check_size(sum(4 * parameter.numel() for parameter in model.parameters()), request.name)
    _check(request, model, make_dataset(cfg.dataset))


def _check(request: Request, model: WaveNet, dataset: Dataset) -> None:
    """Check that the model can be measured as requested, and its recordings' licences stated."""
    found = dataset.scan()
    licences = {licence.name for licence in found.origin.licences}
    if not licences or UNKNOWN in licences:
        raise ValueError(
            "the licence of some recordings is not known, and the model's card has to state it; give dataset.licence "
            "and dataset.attribution, or columns of these names in index.csv"
        )
    if request.unheard is not None and (not model.features or "speaker" in model.conditioners):
        raise ValueError(
            f"unheard={request.unheard}: {request.name} is conditioned on {', '.join(model.conditioners)}; only a "
            "model of features without speakers can resynthesise a speaker that it never heard"
        )
    missing = [package for package in _MEASURING if find_spec(package) is None]
    if model.features and missing:
        raise ModuleNotFoundError(f"measuring needs {', '.join(missing)}: {install_command('report')}")
    if request.unheard is not None:
        heard, unheard = (
            {each.conditions.get("speaker") for each in scan.utterances}
            for scan in (found, _unheard(request.unheard).scan())
        )
        both = ", ".join(sorted(str(name) for name in heard & unheard))
        if both:
            raise ValueError(f"unheard={request.unheard}: the model is trained on {both}, too; leave them out of it")


def _check_size(size: int, name: str) -> None:
    if size > LIMIT:
        raise ValueError(f"{name}: {size / 1e6:.1f} MB, more than the {LIMIT / 1e6:g} MB of a model in the package")


def _is_complete(run: Path) -> bool:
    """Return whether a run has made all its steps."""
    last = run / "checkpoints" / "last.ckpt"
    steps = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["trainer"]["max_steps"]
    return last.is_file() and (load(last).metadata or {})["training"]["steps"] >= steps


def _evaluate(request: Request) -> None:
    """Evaluate the run on its held-out recordings, and on those of unheard speakers if there are any."""
    cache = [setting for setting in request.training if setting.startswith("preparation.cache_dir=")]
    common = [f"checkpoint={request.run}", *cache, _RESYNTHESISED, *request.evaluation]
    _call("evaluate", *common)
    if request.unheard is not None:
        dataset = _unheard(request.unheard)
        chosen = [f"dataset={dataset.name}", "validation_fraction=1", f"output={request.run / UNHEARD}"]
        if isinstance(dataset, Folder):
            of_folders = str(dataset.speakers_from_folders).lower()
            chosen += [f"dataset.root={dataset.root}", f"dataset.speakers_from_folders={of_folders}"]
        _call("evaluate", *common, *chosen)


def _unheard(unheard: str) -> Prompts | Folder:
    """Return the recordings of unheard speakers."""
    if unheard == "prompts":
        return Prompts()
    folder = Path(unheard)
    if not folder.is_dir():
        raise ValueError(f"unheard={unheard}: no such folder; give one of recordings, or prompts")
    in_root = any(path.is_file() and looks_like_audio(path) for path in folder.iterdir())
    return Folder(folder, speakers_from_folders=not in_root)


def _call(command: str, *settings: str) -> None:
    """Run a command of the package; if it fails, end with its exit code, as it has said why."""
    ended = subprocess.run([sys.executable, "-m", f"wavenet.cli.{command}", *settings], check=False)
    if ended.returncode:
        sys.exit(ended.returncode if ended.returncode > 0 else 128 - ended.returncode)


def _end(reason: str) -> NoReturn:
    sys.exit(f"package_model: {reason}")
