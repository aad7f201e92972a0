"""Preparation: every recording read, checked, resampled and trimmed once, into a cache of plain WAVs.

A prepared file's name holds a hash of all that it was made from (the source's path, size and time of
change, the rate, the trimming, the version of this code), and files appear whole or not at all. So a
preparation that was cut off goes on where it was, and what was made with other settings is never mixed
in. A lock lets several processes ask at once: the first one prepares, the others find it done.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
from filelock import FileLock

from wavenet.audio import AudioError, file_name_for, read, resample, trim_silence, write
from wavenet.data.corpus import Corpus, Prepared
from wavenet.data.dataset import Dataset, DatasetError, Skipped, Utterance
from wavenet.data.jobs import run_jobs

CACHE_VERSION = 1
SILENT_DB = -60.0  # a recording whose peak is below this (dB relative to full scale) holds nothing to learn


@dataclass(frozen=True)
class _Job:
    utterance: Utterance
    target: Path
    sample_rate: int
    trim_db: float | None
    min_seconds: float


def prepare(
    dataset: Dataset,
    sample_rate: int,
    cache_dir: str | os.PathLike[str],
    trim_db: float | None = None,
    min_seconds: float = 0.1,
    num_processes: int | None = None,
    progress: bool = True,
) -> Corpus:
    """Prepare a dataset, or find it prepared.

    Args:
        dataset: What to prepare.
        sample_rate: Rate of the prepared audio, Hz.
        cache_dir: Where prepared audio is kept, in a folder for each dataset and rate.
        trim_db: Cut the ends where the level is this many dB below the loudest moment; None keeps them.
        min_seconds: Shorter recordings (after trimming) are skipped.
        num_processes: Processes to use; None decides by the amount of work.
        progress: Whether to show a progress bar.

    Returns:
        The corpus. What could not be used is in `Corpus.skipped`, each with its reason.

    Raises:
        DatasetError: If the dataset is not there, nothing usable is left, or the cache cannot be written.
    """
    folder = Path(cache_dir) / f"{dataset.name}-{sample_rate}Hz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            return _prepare(dataset, folder, sample_rate, trim_db, min_seconds, num_processes, progress)
    except OSError as error:
        raise DatasetError(
            f"{folder}: the prepared audio cannot be written ({error}); free space or set cache_dir"
        ) from error


def _prepare(
    dataset: Dataset,
    folder: Path,
    sample_rate: int,
    trim_db: float | None,
    min_seconds: float,
    num_processes: int | None,
    progress: bool,
) -> Corpus:
    try:
        scan = dataset.scan()
    except OSError as error:
        raise DatasetError(f"dataset '{dataset.name}' cannot be read ({error})") from error
    settings = json.dumps([CACHE_VERSION, sample_rate, trim_db, min_seconds])
    jobs, done, skipped = [], [], list(scan.skipped)
    remembered = _recall(folder)
    for utterance in _unique(scan.utterances, skipped):
        try:
            source = utterance.path.stat()
        except OSError as error:
            skipped.append(Skipped(utterance.id, f"{utterance.path}: {error.strerror}"))
            continue
        made_from = [settings, str(utterance.path.resolve()), source.st_size, source.st_mtime_ns]
        key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
        target = folder / f"{_safe(utterance.id)}-{key}.wav"
        entry = remembered.get(key)
        if entry is not None and target.is_file():
            done.append((utterance, target, entry))
        else:
            jobs.append((key, _Job(utterance, target, sample_rate, trim_db, min_seconds)))
    entries = run_jobs(_prepare_one, [job for _, job in jobs], "preparing audio", num_processes, progress)
    for (key, job), entry in zip(jobs, entries, strict=True):
        done.append((job.utterance, job.target, entry))
        if "skipped" not in entry:  # what failed is tried again next time: a mount may have been away
            remembered[key] = entry
    if jobs:
        _remember(folder, remembered)
    prepared = []
    for utterance, target, entry in done:
        if "skipped" in entry:
            skipped.append(Skipped(utterance.id, entry["skipped"]))
        else:
            length, seconds = entry["num_samples"], entry["source_seconds"]
            prepared.append(Prepared(utterance.id, target, utterance.path, length, seconds, utterance.conditions))
    if not prepared:
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in skipped[:3]) or "the dataset is empty"
        raise DatasetError(f"dataset '{dataset.name}': none of {len(skipped)} recordings can be used ({reasons})")
    return Corpus(dataset.name, sample_rate, sorted(prepared, key=lambda u: u.id), skipped)


def _prepare_one(job: _Job) -> dict:
    """Make one prepared file; returns its table entry."""
    try:
        if job.target.is_file():  # from a preparation that was cut off before it wrote the table
            source = soundfile.info(job.utterance.path)
            return _entry(soundfile.info(job.target).frames, source.frames / source.samplerate)
        waveform, rate = read(job.utterance.path)
        seconds = waveform.shape[0] / rate
        if waveform.abs().max() < 10 ** (SILENT_DB / 20):
            return {"skipped": f"silent (its peak is below {SILENT_DB:g} dB)"}
        if job.trim_db is not None:
            waveform = trim_silence(waveform, rate, job.trim_db)
        waveform = resample(waveform, rate, job.sample_rate)
    except (AudioError, soundfile.SoundFileError) as error:
        return {"skipped": str(error)}
    if waveform.shape[0] < max(2, math.ceil(job.min_seconds * job.sample_rate)):
        return {"skipped": f"too short ({waveform.shape[0] / job.sample_rate:.3f} s; min_seconds={job.min_seconds})"}
    try:
        write(job.target, waveform, job.sample_rate)
    except AudioError as error:
        raise OSError(str(error)) from error
    return _entry(waveform.shape[0], seconds)


def _entry(num_samples: int, source_seconds: float) -> dict:
    return {"num_samples": num_samples, "source_seconds": source_seconds}


def _unique(utterances: list[Utterance], skipped: list[Skipped]) -> Iterator[Utterance]:
    seen = set()
    for utterance in utterances:
        if utterance.id in seen:
            skipped.append(Skipped(utterance.id, f"{utterance.path}: another recording has the same id"))
        else:
            seen.add(utterance.id)
            yield utterance


def _safe(name: str) -> str:
    """An utterance's id as a relative file name."""
    return "/".join(file_name_for(part).lstrip(".")[:80] for part in name.split("/"))


def _recall(folder: Path) -> dict[str, dict]:
    try:
        table = json.loads((folder / "table.json").read_text())
        return table if isinstance(table, dict) else {}
    except (OSError, ValueError):
        return {}  # missing or damaged: everything is looked at again


def _remember(folder: Path, table: dict[str, dict]) -> None:
    beside = folder / f".table-{os.getpid()}.json"
    beside.write_text(json.dumps(table))
    os.replace(beside, folder / "table.json")
