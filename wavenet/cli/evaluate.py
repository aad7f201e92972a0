"""`wavenet evaluate`: a report on one or more models, on held-out utterances."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from wavenet import __version__, load
from wavenet.atomic_files import check_no_links, is_special, os_error_reason, write_text
from wavenet.checkpoint import find, in_package, text_at
from wavenet.cli.built import prepared
from wavenet.cli.command import command, plain, warnings_as_lines
from wavenet.cli.config_files import config_dir
from wavenet.cli.launched import share
from wavenet.cli.saved_config import load_saved_config
from wavenet.cli.scoring import PartialScores
from wavenet.cli.validation import check_rate
from wavenet.data import Corpus, split
from wavenet.evaluation import Clips
from wavenet.machine import machine_in_words
from wavenet.model import WaveNet
from wavenet.names import one_line
from wavenet.native import with_rounded_weights
from wavenet.progress import Bar
from wavenet.report import ModelReport, ReportSettings, compare, render, report_on_model
from wavenet.report.generated import best_in_words, shown_temperature
from wavenet.report.model_report import finite


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate each checkpoint, print a table, and write a JSON file and a page."""
    mine = share()
    checkpoints = list(cfg.checkpoint) if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
    trust = plain(cfg.trust)
    paths = [find(path, trust=trust) for path in checkpoints]
    output = _output(cfg.output, checkpoints, paths)
    if cfg.output is None:  # the checkpoint's folder may be somebody else's
        check_no_links(output.parent, [output, _beside(output, ".html")])
    _check_writable(output)
    device = mine.device(cfg.device)
    models = [load(path, device, trust=trust) for path in paths]  # fails before any work if one cannot be loaded
    for model in models:
        check_rate(cfg.sample_rate, model.sample_rate)
    corpora = mine.after_first(
        "corpora", lambda: [_held_out(cfg, path, model) for path, model in zip(paths, models, strict=True)]
    )
    batch_size = (16 if device.startswith("cuda") else 1) if cfg.batch_size is None else cfg.batch_size
    parts = PartialScores(_beside(output, ".parts"), mine, cfg.engine, batch_size)
    if mine.rank:  # the first process does the rest
        for model, corpus in zip(models, corpora, strict=True):
            parts.score_each(with_rounded_weights(model, cfg.weights), corpus)
        return
    report_settings = _report_settings(cfg)
    reports, results = [], []
    for name, path, model, corpus in zip(_names(checkpoints, paths), paths, models, corpora, strict=True):
        with warnings_as_lines():
            report = report_on_model(
                name,
                with_rounded_weights(model, cfg.weights),
                corpus,
                report_settings,
                model,
                _progress,
                parts.score_each,
            )
        reports.append(report)
        results.append({"checkpoint": str(path), "weights": cfg.weights} | report.result)
        _print(report)
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
    _write(_beside(output, ".html"), page)
    _write(output, json.dumps(finite(result), indent=2, allow_nan=False) + "\n")
    parts.remove()


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
        utterance_temperature=cfg.resynthesis.temperature,
        long_term_utterances=cfg.long_term.utterances,
        long_term_seconds=cfg.long_term.seconds,
        long_term_speakers=cfg.long_term.max_speakers,
        temperatures=settings["temperatures"],
        speed_seconds=cfg.speed.seconds,
        weights=cfg.weights,
    )


def _held_out(cfg: DictConfig, path: Path, model: WaveNet) -> Corpus:
    """Return the utterances that a model is evaluated on: from the dataset given, or else the run's own."""
    settings = cfg
    if OmegaConf.select(cfg, "dataset") is None:
        run_config = _home(path) / "config.yaml"
        if not run_config.is_file():
            raise ValueError(f"{run_config} does not exist, so the run's dataset is unknown; give {_dataset_of(model)}")
        settings = load_saved_config(run_config, cfg.preparation.cache_dir, plain(cfg.trust))
    _, held_out = split(prepared(settings, model), settings.validation_fraction)
    if not held_out.utterances:
        raise ValueError(
            f"validation_fraction is {settings.validation_fraction}: no utterances are held out to evaluate on; "
            "give dataset=NAME validation_fraction=0.1"
        )
    return held_out


def _dataset_of(model: WaveNet) -> str:
    """Return the setting for the dataset that a model was trained on, as its metadata states it."""
    name = text_at(model.metadata, "data", "name")
    if name not in {path.stem for path in (config_dir() / "dataset").glob("*.yaml")}:
        return "dataset=NAME"
    return f"dataset={name}, on which the model was trained, or another"


def _output(output_setting: str | None, checkpoints: list[str], paths: list[Path]) -> Path:
    """Return the path of the JSON file; the page is written beside it."""
    if output_setting is not None:
        output = Path(output_setting)
        if output.suffix.lower() in (".html", ".htm"):
            raise ValueError(
                f"output is '{output_setting}'; name the JSON file, such as {output.with_suffix('.json')}: "
                "the page is written beside it"
            )
        if is_special(output):
            raise ValueError(f"output is '{output_setting}', which is no regular file; name one, such as scores.json")
        return output
    if len(paths) > 1:
        return Path("comparison.json")
    if not Path(checkpoints[0]).exists() or in_package(paths[0]):  # nothing is written there, or into the Hub's cache
        return Path("evaluation.json")
    return _home(paths[0]) / "evaluation.json"


def _beside(output: Path, ending: str) -> Path:
    """Return the file of another kind beside the JSON file, whose name may have further dots.

    >>> _beside(Path("a/lr_0.001.json"), ".html").name, _beside(Path("a/lr_0.001"), ".html").name
    ('lr_0.001.html', 'lr_0.001.html')
    """
    stem = output.stem if output.suffix.lower() == ".json" else output.name
    return output.with_name(stem + ending)


def _check_writable(output: Path) -> None:
    """Check before any work that the JSON file and the page can be written; nothing is left behind."""
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = os_error_reason(error)
        raise ValueError(f"output is '{output}', which cannot be written in {folder} ({reason})") from error


def _home(path: Path) -> Path:
    """Return the folder that a checkpoint belongs to: its run's folder, or that of the saved model itself."""
    if path.is_dir():
        return path
    return path.parent.parent if path.absolute().parent.name == "checkpoints" else path.parent


def _names(checkpoints: list[str], paths: list[Path]) -> list[str]:
    """Return a name for each: the one on the Hub, or its folder's, or its path where two would have the same."""
    are_local = [Path(name).exists() for name in checkpoints]
    names = [
        _home(path).resolve().name or str(path) if is_local else name
        for name, path, is_local in zip(checkpoints, paths, are_local, strict=True)
    ]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


@contextmanager
def _progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    with Bar(total=total, desc=what, unit=unit, unit_scale=unit == "sample", dynamic_ncols=True) as bar:
        yield bar.update


def _print(report: ModelReport) -> None:
    print(one_line(report.name))
    print(f"{'speaker':<16} {'bits/sample':>11} {'as 16-bit':>9} {'utterances':>10} {'seconds':>8}  interval of bits")
    for speaker, score in report.result["bits_per_sample"].items():
        name, seconds = one_line(speaker), score["samples"] / report.corpus.sample_rate
        bits, bits_16, ends = score["value"], score["as_16_bit"], score["interval"]
        interval = "none, only one utterance" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
        print(f"{name:<16} {bits:>11.4f} {bits_16:>9.4f} {score['utterances']:>10} {seconds:>8.1f}  {interval}")
    if report.result["long_term"]:
        _print_long_term(report.result["long_term"])
    if report.result["resynthesis"]:
        for reason, count in report.result["resynthesis"]["reasons"].items():
            print(f"not available for {count} utterance(s): {reason}")


def _print_long_term(found: dict[str, Any]) -> None:
    """Print generated audio beside the recordings, and the table of temperatures if there are several."""
    shown = shown_temperature(found)
    print(
        f"generated audio beside recordings: {found['utterances']} x {found['seconds']:g} s of each speaker "
        f"at temperature {shown['temperature']:g}"
    )
    print(f"{'speaker':<16} {'level, dBFS':>15} {'silence, %':>11} {'flatness, dB':>15} {'spectrum, dB':>12}  verdict")
    for speaker, row in shown["by_speaker"].items():
        own = found["recordings"][speaker]
        pairs = [f"{row[name]:.1f} / {own[name]:.1f}" for name in ("level", "flatness")]
        silence, text = f"{100 * row['silence']:.0f} / {100 * own['silence']:.0f}", "; ".join(row.get("verdict", []))
        print(
            f"{one_line(speaker):<16} {pairs[0]:>15} {silence:>11} {pairs[1]:>15} {row['spectrum_distance']:>12.1f}"
            f"  {text or ('' if speaker == 'all' else 'nothing stands out')}"
        )
    if len(found["distances"]) > 1:
        _print_temperatures(found)


def _print_temperatures(found: dict[str, Any]) -> None:
    print(f"{'temperature':>11} {'distance, dB':>12}  {'interval':<16}  above the best")
    for row in found["distances"]:
        ends, above = (
            "" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
            for interval in (row["interval"], row["above_best"])
        )
        is_best = row["temperature"] == found["best"]
        distance = f"{row['distance']:.2f}" if math.isfinite(row["distance"]) else "silent"
        print(f"{row['temperature']:>11g} {distance:>12}  {ends:<16}  {'best' if is_best else above}")
    print(best_in_words(found))


def _print_comparison(comparison: dict[str, Any]) -> None:
    if comparison["reason"]:
        print(f"the figures are not comparable: {comparison['reason']}")
    for difference in comparison["differences"]:
        every = difference["by_speaker"]["all"]
        ends = every["interval"]
        interval = "" if ends is None else f" ({ends[0]:+.4f} to {ends[1]:+.4f})"
        print(f"{difference['of']} minus {difference['minus']}, as 16-bit: {every['value']:+.4f}{interval}")


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ValueError(f"output is '{path}', which cannot be written ({os_error_reason(error)})") from error
    print(f"written to {path}")


if __name__ == "__main__":
    main()
