"""Preparation of a dataset: every recording is read, checked, resampled and trimmed once, into a cache of WAV files.

A prepared file's name contains a hash of everything that it depends on (the source's path, size and time of
change, the rate, the trimming, the scaling, the version of this code), and files are written atomically. So an
interrupted preparation continues where it stopped, and files of other settings are never used. The table in
`table.json` contains each file's size, so that a file that was damaged later is prepared again. A lock allows several
processes to prepare the same dataset at once: the first one does the work, the others use its result. What is complete
is used without the lock.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from torch import Tensor

from wavenet.atomic_files import check_no_links, os_error_reason, remove_partial_files, write_text
from wavenet.audio import AudioError, claimed_seconds, file_name_for, read, resample, stretched, trim_silence, write
from wavenet.bounds import RATES, Workers, checked
from wavenet.data.cache_lock import locked
from wavenet.data.corpus import Corpus, Prepared
from wavenet.data.dataset import Dataset, DatasetError, PreparedDataset, Scan, Skipped, Utterance
from wavenet.data.mix import Mix
from wavenet.data.origin import Origin
from wavenet.data.process_pool import run_jobs
from wavenet.types import Real

CACHE_VERSION = 4
_TABLE = "table.json"
ELSEWHERE = "preparation.cache_dir sets the folder"
SILENT_DB = -60.0  # recordings whose peak is below this (dB relative to full scale) are skipped as silent


@dataclass(frozen=True)
class _Job:
    utterance: Utterance
    key: str
    target: Path
    sample_rate: int
    trim_db: float | None
    min_seconds: float

    def __str__(self) -> str:
        return str(self.utterance.path)


@dataclass(frozen=True)
class _State:
    """A dataset's preparation: what is done, and what is not.

    Attributes:
        table: Entries of prepared files, by key.
        jobs: Files to prepare.
        damaged: Those of them that exist, with another size than they had.
        prepared: Utterances.
        skipped: What is left out.
    """

    table: dict[str, dict]
    jobs: list[_Job]
    damaged: list[Path]
    prepared: list[Prepared]
    skipped: list[Skipped]


@checked
def prepare(
    dataset: Dataset,
    sample_rate: int,
    cache_dir: str | os.PathLike[str],
    trim_db: Annotated[float, Real(0, 200, exclusive_low=True, example=40)] | None = None,
    min_seconds: Annotated[float, Real(0, 86400, example=0.1)] = 0.1,
    num_processes: Workers | None = None,
    progress: bool = True,
) -> Corpus:
    """Prepare a dataset, except for recordings already in the cache.

    Args:
        dataset: The dataset to prepare.
        sample_rate: Rate of the prepared audio, Hz.
        cache_dir: Folder for prepared audio, which has a folder for each dataset and rate.
        trim_db: Cut the ends where the level is this many dB below the loudest moment; None keeps them.
        min_seconds: Shorter recordings (after trimming) are skipped.
        num_processes: Processes to use; None decides by the amount of work.
        progress: Whether to show a progress bar.

    Returns:
        The corpus. Recordings that cannot be used are in `Corpus.skipped`, each with its reason.

    Raises:
        DatasetError: If the rate is out of range, the dataset is missing, no usable recording is left,
            or the cache cannot be written.
        ValueError: If another number is out of range.
    """
    check_sample_rate(sample_rate)
    if isinstance(dataset, Mix):
        settings = (sample_rate, cache_dir, trim_db, min_seconds, num_processes, progress)
        return dataset.join(dataset.of_each(lambda _, part: prepare(part, *settings)))
    if isinstance(dataset, PreparedDataset):
        return dataset.open(sample_rate, Path(cache_dir), trim_db, min_seconds)
    folder = Path(cache_dir) / f"{dataset.name}-{sample_rate}Hz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_no_links(Path(cache_dir), [folder])
        scan = None
        if (folder / _TABLE).is_file():  # a complete cache is used without its lock, by any number of processes at once
            scan = scanned(dataset)
            state = _state(scan, folder, sample_rate, trim_db, min_seconds)
            if not state.jobs:
                return _corpus(dataset, folder, sample_rate, state, scan.origin)
        with locked(folder):
            scan = scan or scanned(dataset)
            state = _state(scan, folder, sample_rate, trim_db, min_seconds)
            _prepare(state, folder, num_processes, progress)
            return _corpus(dataset, folder, sample_rate, state, scan.origin)
    except OSError as error:
        raise DatasetError(
            f"{folder}: the prepared audio cannot be written ({os_error_reason(error)}); {ELSEWHERE}"
        ) from error


def check_sample_rate(sample_rate: int) -> None:
    """Check the rate of prepared audio.

    Raises:
        DatasetError: If it is out of range.
    """
    if not RATES.accepts(sample_rate):
        raise DatasetError(f"sample_rate is {sample_rate} Hz; it must be {RATES.low} to {RATES.high}")


def nothing_usable(dataset: str, skipped: Sequence[Skipped]) -> DatasetError:
    """Return the error for a dataset none of whose recordings can be used."""
    reasons = "; ".join(str(each) for each in skipped[:3]) or "the dataset is empty"
    return DatasetError(f"dataset '{dataset}': none of {len(skipped)} recordings can be used ({reasons})")


def scanned(dataset: Dataset) -> Scan:
    """Find a dataset's recordings.

    Raises:
        DatasetError: If it cannot be read.
    """
    try:
        scan = dataset.scan()
    except OSError as error:
        raise DatasetError(f"dataset '{dataset.name}' cannot be read ({error})") from error
    if not isinstance(scan, Scan):
        reason = f"its scan() returned a {type(scan).__name__}; it must return a wavenet.data.Scan"
        raise DatasetError(f"dataset '{dataset.name}' cannot be read: {reason}")
    return scan


def _state(scan: Scan, folder: Path, sample_rate: int, trim_db: float | None, min_seconds: float) -> _State:
    """Return what is prepared, and what is still to be done."""
    state = _State(_read_table(folder), [], [], [], list(scan.skipped))
    for utterance in unique(scan.utterances, state.skipped):
        try:
            job = _job(utterance, folder, sample_rate, trim_db, min_seconds)
        except OSError as error:
            state.skipped.append(Skipped(utterance.id, f"{utterance.path}: {error.strerror}"))
            continue
        entry = state.table.get(job.key)
        if entry is not None and _size(job.target) != entry["bytes"]:
            state.damaged.append(job.target)
            entry = None
        if entry is None:
            state.jobs.append(job)
        else:
            state.prepared.append(_prepared(job, entry))
    return state


def _prepare(state: _State, folder: Path, num_processes: int | None, progress: bool) -> None:
    """Do what is still to be done."""
    jobs = state.jobs
    check_no_links(folder, [folder / _TABLE, *(job.target for job in jobs)] if jobs else ())
    for target in state.damaged:
        target.unlink(missing_ok=True)
    for parent in {folder, *(job.target.parent for job in jobs)} if jobs else ():
        remove_partial_files(parent)
    changed, results = False, run_jobs(_prepare_one, jobs, "preparing audio", num_processes, progress)
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, str):  # it is tried again next time: a mount may have been missing
            state.skipped.append(Skipped(job.utterance.id, result))
        else:
            state.table[job.key], changed = result, True
            state.prepared.append(_prepared(job, result))
    if changed:
        write_text(folder / _TABLE, json.dumps(state.table))


def _corpus(dataset: Dataset, folder: Path, sample_rate: int, state: _State, origin: Origin) -> Corpus:
    if not state.prepared:
        raise nothing_usable(dataset.name, state.skipped)
    utterances = sorted(state.prepared, key=lambda each: each.id)
    return Corpus(dataset.name, sample_rate, utterances, state.skipped, folder=folder, origin=origin)


def _job(utterance: Utterance, folder: Path, sample_rate: int, trim_db: float | None, min_seconds: float) -> _Job:
    """Return the job of preparing a recording.

    Raises:
        OSError: If the recording is missing.
    """
    source = utterance.path.stat()
    settings = json.dumps([CACHE_VERSION, sample_rate, trim_db, min_seconds, *(["stretch"] * utterance.stretch)])
    hashed = [settings, os.path.realpath(utterance.path), source.st_size, source.st_mtime_ns]
    key = hashlib.sha256(json.dumps(hashed).encode()).hexdigest()[:16]
    return _Job(utterance, key, folder / f"{_safe(utterance.id)}-{key}.wav", sample_rate, trim_db, min_seconds)


def _prepared(job: _Job, entry: dict) -> Prepared:
    utterance, length, seconds = job.utterance, entry["num_samples"], entry["source_seconds"]
    return Prepared(
        utterance.id, job.target, utterance.path, length, seconds, utterance.conditions, held_out=utterance.held_out
    )


def _prepare_one(job: _Job) -> dict | str:
    """Prepare one file; return its table entry, or why the recording cannot be used.

    Raises:
        DatasetError: If it cannot be written.
    """
    try:
        entry = _existing_entry(job)
        if entry is not None:
            return entry
        waveform, seconds = usable_waveform(job.utterance, job.sample_rate, job.trim_db, job.min_seconds)
    except AudioError as error:
        return str(error)
    try:
        write(job.target, waveform, job.sample_rate)
    except AudioError as error:
        raise DatasetError(f"{error}; {ELSEWHERE}") from error
    return _entry(job.target, waveform.shape[0], seconds)


def usable_waveform(
    utterance: Utterance, sample_rate: int, trim_db: float | None, min_seconds: float
) -> tuple[Tensor, float]:
    """Read, trim, resample and stretch a recording.

    Returns:
        (T,) samples at the new rate, float32; and the length of the whole recording, seconds.

    Raises:
        AudioError: If it cannot be used; says why.
    """
    waveform, rate = read(utterance.path)
    seconds = waveform.shape[0] / rate
    if (waveform - waveform.mean()).abs().max() < 10 ** (SILENT_DB / 20):
        raise AudioError(f"silent (apart from a constant offset, its peak is below {SILENT_DB:g} dB)")
    if trim_db is not None:
        waveform = trim_silence(waveform, rate, trim_db)
    waveform = resample(waveform, rate, sample_rate)
    waveform = stretched(waveform) if utterance.stretch else waveform
    if waveform.shape[0] < max(2, math.ceil(min_seconds * sample_rate)):
        raise AudioError(f"too short ({waveform.shape[0] / sample_rate:.3f} s; min_seconds={min_seconds})")
    return waveform, seconds


def _existing_entry(job: _Job) -> dict | None:
    """Return the entry of a file that an interrupted preparation wrote, and which is not in the table yet."""
    if not job.target.is_file():
        return None
    source = claimed_seconds(job.utterance.path)
    try:
        prepared = claimed_seconds(job.target)
    except AudioError:  # damaged since then
        return None
    if prepared is None or source is None:
        return None
    return _entry(job.target, round(prepared * job.sample_rate), source)


def _entry(target: Path, num_samples: int, source_seconds: float) -> dict:
    return {"num_samples": num_samples, "source_seconds": source_seconds, "bytes": _size(target)}


def _size(path: Path) -> int | None:
    """Return the size of a file in bytes; None if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def unique(utterances: list[Utterance], skipped: list[Skipped]) -> Iterator[Utterance]:
    """Yield each id and each file once: a file used twice could be in the training and the validation set."""
    ids: set[str] = set()
    files: dict[Path, str] = {}
    for utterance in utterances:
        file = Path(os.path.realpath(utterance.path))  # unlike Path.resolve, it accepts circular links
        if utterance.id in ids:
            skipped.append(Skipped(utterance.id, f"{utterance.path}: another recording has the same id"))
        elif file in files:
            skipped.append(Skipped(utterance.id, f"{utterance.path}: the same file as {files[file]}"))
        else:
            ids.add(utterance.id)
            files[file] = utterance.id
            yield utterance


def _safe(name: str) -> str:
    """Convert an utterance's id to a relative file name, short enough for any file system."""
    parts = [file_name_for(part).lstrip(".") for part in name.split("/")[-3:]]
    return "/".join(part.encode(errors="replace")[:80].decode(errors="ignore") for part in parts)


def _read_table(folder: Path) -> dict[str, dict]:
    """Read the table; malformed entries are left out."""
    try:
        table = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # missing or damaged: every file is checked again
    known = {"num_samples", "source_seconds", "bytes"}
    entries = table.items() if isinstance(table, dict) else ()
    return {key: entry for key, entry in entries if isinstance(entry, dict) and entry.keys() == known}
