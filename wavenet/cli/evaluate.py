"""`wavenet evaluate`: a report on one model or several, on held-out utterances."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from tqdm import tqdm

from wavenet import __version__, load
from wavenet.atomic_files import os_error_reason, write_text
from wavenet.checkpoint import find
from wavenet.cli.command import command, plain, warnings_as_lines
from wavenet.cli.preflight import make_dataset
from wavenet.cli.saved_config import load_saved_config
from wavenet.cli.validation import check_rate
from wavenet.data import Corpus, add_features, prepare, split
from wavenet.evaluation import Clips
from wavenet.machine import machine_in_words
from wavenet.model import WaveNet
from wavenet.native import with_rounded_weights
from wavenet.report import ModelReport, ReportSettings, compare, render, report_on_model
from wavenet.report.model_report import finite


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Examine each checkpoint, print a table, and write JSON and a page."""
    given = list(cfg.checkpoint) if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
    trust = plain(cfg.trust)
    paths = [find(path, trust=trust) for path in given]
    output = _output(cfg.output, given, paths)
    models = [load(path, cfg.device, trust=trust) for path in paths]  # what cannot be loaded ends it before any work
    for model in models:
        check_rate(cfg.sample_rate, model.sample_rate)
    corpora = [_held_out(cfg, path, model) for path, model in zip(paths, models, strict=True)]
    report_settings = _report_settings(cfg)
    reports, results = [], []
    for name, path, model, corpus in zip(_names(given, paths), paths, models, corpora, strict=True):
        with warnings_as_lines():
            found = report_on_model(
                name, with_rounded_weights(model, cfg.weights), corpus, report_settings, model, _progress
            )
        reports.append(found)
        results.append({"checkpoint": str(path), "weights": cfg.weights} | found.result)
        _print(found)
    comparison = compare(reports, report_settings.confidence) if len(paths) > 1 else None
    if comparison is not None:
        _print_comparison(comparison)
    common = {
        "version": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine_in_words(),
        "confidence": report_settings.confidence,
        "seed": report_settings.seed,
    }
    page = render(finite(common | {"models": results, "comparison": comparison}), reports)
    result = common | (results[0] if comparison is None else {"models": results, "comparison": comparison})
    _write(output.with_suffix(".html"), page)
    _write(output, json.dumps(finite(result), indent=2, allow_nan=False) + "\n")


def _report_settings(cfg: DictConfig) -> ReportSettings:
    settings = plain(cfg)
    clips = settings["bits_per_byte"]
    seconds = clips.pop("clip_seconds")
    return ReportSettings(
        seed=cfg.seed,
        confidence=cfg.confidence,
        clips=None if seconds is None else Clips(seconds, **clips),
        sound_seconds=cfg.sounds.seconds,
        max_speakers=cfg.sounds.max_speakers,
        utterances=cfg.resynthesis.utterances,
        utterance_seconds=cfg.resynthesis.seconds,
        speed_seconds=cfg.speed.seconds,
        weights=cfg.weights,
    )


def _held_out(cfg: DictConfig, path: Path, model: WaveNet) -> Corpus:
    """The utterances that a model is examined on: of the dataset that is named, or the run's own."""
    settings = cfg
    if OmegaConf.select(cfg, "dataset") is None:
        run_config = _home(path) / "config.yaml"
        if not run_config.is_file():
            raise ValueError(f"{run_config} is not there, so the run's dataset is unknown; give dataset=NAME")
        settings = load_saved_config(run_config, cfg.preparation.cache_dir, plain(cfg.trust))
    corpus = prepare(make_dataset(settings.dataset), model.sample_rate, **plain(settings.preparation))
    corpus = add_features(corpus, model.features, trimmed=settings.preparation.trim_db is not None)
    _, held_out = split(corpus, settings.validation_fraction)
    if not held_out.utterances:
        raise ValueError(
            f"validation_fraction is {settings.validation_fraction}: nothing is held out to be scored; "
            "give dataset=NAME validation_fraction=0.1"
        )
    return held_out


def _output(asked: str | None, given: list[str], paths: list[Path]) -> Path:
    """Where the JSON goes; the page lies beside it."""
    if asked is not None:
        output = Path(asked)
        if output.suffix.lower() in (".html", ".htm"):
            raise ValueError(
                f"output is '{asked}'; name the JSON, such as {output.with_suffix('.json')}: the page is beside it"
            )
        return output
    if len(paths) > 1:
        return Path("comparison.json")
    if not Path(given[0]).exists():  # nothing is written into the Hub's cache
        return Path("evaluation.json")
    return _home(paths[0]) / "evaluation.json"


def _home(path: Path) -> Path:
    """The folder that a checkpoint belongs to: its run's; of a saved model its own."""
    if path.is_dir():
        return path
    return path.parent.parent if path.absolute().parent.name == "checkpoints" else path.parent


def _names(given: list[str], paths: list[Path]) -> list[str]:
    """What to call each: its name on the Hub, or that of its folder, or its path where two have the same."""
    there = [Path(name).exists() for name in given]
    names = [
        _home(path).resolve().name or str(path) if here else name
        for name, path, here in zip(given, paths, there, strict=True)
    ]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


@contextmanager
def _progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    with tqdm(total=total, desc=what, unit=unit, unit_scale=unit == "sample", dynamic_ncols=True) as bar:
        yield bar.update


def _print(found: ModelReport) -> None:
    print(found.name)
    print(f"{'speaker':<16} {'bits/sample':>11} {'as 16-bit':>9} {'utterances':>10} {'seconds':>8}  interval of bits")
    for name, score in found.result["bits_per_sample"].items():
        seconds = score["samples"] / found.corpus.sample_rate
        bits, bits_16, ends = score["value"], score["as_16_bit"], score["interval"]
        said = "none, of one utterance" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
        print(f"{name:<16} {bits:>11.4f} {bits_16:>9.4f} {score['utterances']:>10} {seconds:>8.1f}  {said}")
    if found.result["resynthesis"]:
        for reason_, times in found.result["resynthesis"]["reasons"].items():
            print(f"not to be had for {times} utterance(s): {reason_}")


def _print_comparison(comparison: dict[str, Any]) -> None:
    if comparison["reason"]:
        print(f"the figures do not compare: {comparison['reason']}")
    for difference in comparison["differences"]:
        every = difference["by_speaker"]["all"]
        ends = every["interval"]
        said = "" if ends is None else f" ({ends[0]:+.4f} to {ends[1]:+.4f})"
        print(f"{difference['of']} minus {difference['minus']}, as 16-bit: {every['value']:+.4f}{said}")


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ValueError(f"output is '{path}', and cannot be written ({os_error_reason(error)})") from error
    print(f"written to {path}")


if __name__ == "__main__":
    main()
