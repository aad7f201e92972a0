"""Preparation of a dataset into shards."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import torch

from wavenet.audio import AudioError, Features, claimed_seconds
from wavenet.bounds import PreparationEngine, ShardMegabytes, StoredSamples, Workers, checked
from wavenet.data.columns import NONE
from wavenet.data.dataset import Dataset, DatasetError, Skipped, Utterance
from wavenet.data.features import aligned, check_features
from wavenet.data.on_ray import run_on_ray
from wavenet.data.prepare import (
    CACHE_VERSION,
    check_sample_rate,
    nothing_usable,
    scanned,
    unique,
    usable_waveform,
)
from wavenet.data.process_pool import run_jobs, usable_cores
from wavenet.data.shards.layout import (
    DTYPES,
    FORMAT,
    INDEX,
    MANIFEST,
    SKIPPED,
    Content,
    decode_part,
    decode_samples,
    describe_features,
    digest_of,
    encode_index,
    encode_part,
    encode_samples,
    encode_shard,
    origin_as_data,
    sha256,
    shard_name,
)
from wavenet.data.shards.place import Place
from wavenet.types import Real

_MEASURED = 50  # files whose headers are read, to estimate how large the prepared audio will be
_WORTH_PROCESSES = 400  # files
_OURS = ("shard-", "part-")


@dataclass(frozen=True)
class _Job:
    """One shard."""

    number: int
    utterances: list[Utterance]
    sample_rate: int
    trim_db: float | None
    min_seconds: float
    dtype: str
    features: tuple[Features, ...]
    place: Place
    part: str

    def __str__(self) -> str:
        return f"{self.place.named(shard_name(self.number))}, of {self.utterances[0].path} and those after it,"


@checked
def prepare_shards(
    dataset: Dataset,
    sample_rate: int,
    output: str | os.PathLike[str],
    features: Sequence[Features] = (),
    trim_db: Annotated[float, Real(0, 200, exclusive_low=True, example=40)] | None = None,
    min_seconds: Annotated[float, Real(0, 86400, example=0.1)] = 0.1,
    dtype: StoredSamples = "int16",
    shard_megabytes: ShardMegabytes = 64.0,
    num_processes: Workers | None = None,
    progress: bool = True,
    engine: PreparationEngine = "processes",
) -> dict[str, Any]:
    """Prepare a dataset into shards, or complete what an interrupted preparation has left.

    Each shard is written by one process, whole or not at all. What it holds depends on the recordings and these
    settings only, and not on the number of processes or on interruptions.

    Args:
        dataset: The dataset to prepare.
        sample_rate: Rate of the prepared audio, Hz.
        output: The folder: a path, or a URI that Arrow's file systems reach, such as "s3://bucket/folder".
        features: Features to compute for every utterance.
        trim_db: Cut the ends where the level is this many dB below the loudest moment; None keeps them.
        min_seconds: Shorter recordings (after trimming) are skipped.
        dtype: Type of the stored samples.
        shard_megabytes: Approximate size of a shard's samples and features.
        num_processes: Processes to use; None decides by the amount of work.
        progress: Whether to show a progress bar.
        engine: "processes" of this machine, or "ray": as many tasks as its cluster has processors; see
            `wavenet.data.on_ray`.

    Returns:
        The corpus's manifest, as `corpus.json` has it.

    Raises:
        DatasetError: If the rate is out of range, the dataset is missing, no usable recording is left, the folder
            holds something else, or it cannot be written.
        ValueError: If another number is out of range.
    """
    check_sample_rate(sample_rate)
    place = Place(os.fspath(output))
    found = scanned(dataset)
    skipped = list(found.skipped)
    taken = {name for utterance in found.utterances for name in utterance.conditions}
    check_features(dataset.name, features, taken, trimmed=trim_db is not None)
    files, sizes = _existing(sorted(unique(found.utterances, skipped), key=lambda each: each.id), skipped)
    if not files:
        raise nothing_usable(dataset.name, skipped)
    described = {each.name: describe_features(each) for each in features}
    settings = [FORMAT, CACHE_VERSION, sample_rate, trim_db, min_seconds, dtype, described]
    bytes_per_second = sample_rate * DTYPES[dtype].itemsize
    bytes_per_second += sum(4 * sample_rate / each.hop_length * each.num_channels for each in features)
    jobs = []
    for group in _grouped(files, sizes, bytes_per_second, 1e6 * shard_megabytes):
        key = sha256(json.dumps([settings, [_identity(each, sizes[each.id]) for each in group]]).encode())[:16]
        part = f"part-{len(jobs):05d}-{key}.arrow"
        jobs.append(_Job(len(jobs), group, sample_rate, trim_db, min_seconds, dtype, tuple(features), place, part))
    plan = sha256("\n".join(job.part for job in jobs).encode())
    existing = place.sizes()
    if MANIFEST in existing:
        return _same(place, plan)
    _check_folder(place, existing, jobs)
    parts = {job.number: place.read(job.part) for job in jobs if job.part in existing}
    parts = {number: part for number, part in parts.items() if _is_whole(number, part, existing)}
    missing = [job for job in jobs if job.number not in parts]
    if num_processes is None:
        num_processes = usable_cores() if sum(len(job.utterances) for job in missing) >= _WORTH_PROCESSES else 0
    if engine == "ray":
        results = run_on_ray(_write_shard, missing, "writing shards", progress, "shard")
    else:
        results = run_jobs(_write_shard, missing, "writing shards", num_processes, progress, "shard", 1)
    parts |= {job.number: part for job, part in zip(missing, results, strict=True)}
    ordered = [decode_part(parts[job.number]) for job in jobs]
    return _complete(dataset, place, ordered, skipped, plan, found.origin, settings, described)


def _existing(
    utterances: Sequence[Utterance], skipped: list[Skipped]
) -> tuple[list[Utterance], dict[str, tuple[int, int]]]:
    """Return the utterances whose files exist; and the size of each in bytes, and when it was changed, by id."""
    files, sizes = [], {}
    for utterance in utterances:
        try:
            status = utterance.path.stat()
        except OSError as error:
            skipped.append(Skipped(utterance.id, f"{utterance.path}: {error.strerror}"))
            continue
        files.append(utterance)
        sizes[utterance.id] = status.st_size, status.st_mtime_ns
    return files, sizes


def _identity(utterance: Utterance, status: tuple[int, int]) -> list[Any]:
    conditions = sorted(utterance.conditions.items())
    return [
        *(utterance.id, os.path.realpath(utterance.path), *status),
        *(conditions, utterance.held_out, utterance.stretch),
    ]


def _grouped(
    utterances: Sequence[Utterance],
    sizes: dict[str, tuple[int, int]],
    bytes_per_second: float,
    target: float,
) -> list[list[Utterance]]:
    """Divide utterances into shards of about the same size, in their order.

    How large the prepared audio will be is estimated from the sizes of the files, and from the lengths of some of each
    kind; opening all of them would take as long as reading them.
    """
    by_kind: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_kind.setdefault(utterance.path.suffix.lower(), []).append(utterance)
    growth = {}
    for kind, files in by_kind.items():
        some = sorted(files, key=lambda each: hashlib.sha256(each.id.encode(errors="surrogatepass")).digest())
        seconds, read = 0.0, 0
        for each in some[:_MEASURED]:
            try:
                seconds += claimed_seconds(each.path) or 0.0
            except AudioError:
                continue
            read += sizes[each.id][0]
        growth[kind] = bytes_per_second * seconds / read if seconds and read else 1.0
    expected = np.cumsum([sizes[each.id][0] * growth[each.path.suffix.lower()] for each in utterances])
    count = max(1, round(float(expected[-1]) / target))
    shards = np.minimum((expected - expected / len(expected) / 2) * count / expected[-1], count - 1).astype(int)
    groups: list[list[Utterance]] = [[] for _ in range(count)]
    for utterance, shard in zip(utterances, shards, strict=True):
        groups[shard].append(utterance)
    return [group for group in groups if group]


def _same(place: Place, plan: str) -> dict[str, Any]:
    """Return the manifest of the corpus that is there, if it is the one that was to be prepared."""
    manifest = json.loads(place.read(MANIFEST))
    if manifest.get("plan") != plan:
        raise DatasetError(
            f"{place.text}: holds a corpus of other recordings or settings, which is never changed; choose another "
            "folder, or delete this one"
        )
    return manifest


def _check_folder(place: Place, existing: dict[str, int], jobs: Sequence[_Job]) -> None:
    others = sorted(name for name in existing if not name.startswith((*_OURS, INDEX, SKIPPED, ".")))
    if others:
        raise DatasetError(f"{place.text}: holds other files, such as {others[0]}; choose an empty or a new folder")
    known = {job.part for job in jobs}
    for name in existing:
        if name.startswith("part-") and name not in known:  # of other settings: its shard will be written again
            place.remove(name)


def _is_whole(number: int, part: bytes, existing: dict[str, int]) -> bool:
    """Return whether a shard and its part are as they were written."""
    try:
        return existing.get(shard_name(number)) == decode_part(part)[1]["bytes"]
    except pa.ArrowException:
        return False


def _write_shard(job: _Job) -> bytes:
    """Write a shard, and then the part, which says that it is complete; return the part."""
    contents, skipped = [], []
    for utterance in job.utterances:
        try:
            contents.append(_content(utterance, job))
        except AudioError as error:
            skipped.append([utterance.id, str(error)])
    file, rows = encode_shard(job.number, contents, job.dtype, [each.name for each in job.features])
    part = bytes(encode_part(rows, bytes=len(file), sha256=sha256(file), skipped=skipped))
    job.place.write(shard_name(job.number), file)
    job.place.write(job.part, part)
    return part


def _content(utterance: Utterance, job: _Job) -> Content:
    waveform, seconds = usable_waveform(utterance, job.sample_rate, job.trim_db, job.min_seconds)
    held_out = NONE if utterance.held_out is None else int(utterance.held_out)
    stored = torch.from_numpy(decode_samples(encode_samples(waveform.numpy(), job.dtype).tobytes(), job.dtype))
    frames = {
        each.name: aligned(each.extract(stored, utterance.path), each, len(stored), utterance.path).numpy()
        for each in job.features
    }
    return Content(utterance.id, waveform.numpy(), seconds, held_out, utterance.conditions, frames)


def _complete(
    dataset: Dataset,
    place: Place,
    parts: Sequence[tuple[Any, dict[str, Any]]],
    skipped: list[Skipped],
    plan: str,
    origin: Any,
    settings: list[Any],
    described: dict[str, Any],
) -> dict[str, Any]:
    """Write the index and, at last, the manifest."""
    skipped = [*skipped, *(Skipped(*each) for _, stated in parts for each in stated["skipped"])]
    rows = [rows for rows, _ in parts if len(rows)]
    if not rows:
        raise nothing_usable(dataset.name, skipped)
    index, columns = encode_index(rows)
    place.write(INDEX, index)
    place.write(SKIPPED, "".join(f"{each}\n" for each in skipped).encode())
    _, _, sample_rate, trim_db, min_seconds, dtype, _ = settings
    manifest = {
        "format": FORMAT,
        "name": dataset.name,
        "sample_rate": sample_rate,
        "dtype": dtype,
        "utterances": len(columns.lengths),
        "samples": columns.samples,
        "conditions": sorted(columns.conditions),
        "features": described,
        "trim_db": trim_db,
        "min_seconds": min_seconds,
        "skipped": len(skipped),
        "origin": origin_as_data(origin),
        "index": {"bytes": len(index), "sha256": sha256(index)},
        "shards": [{"bytes": stated["bytes"], "sha256": stated["sha256"]} for _, stated in parts],
        "plan": plan,
    }
    manifest["digest"] = digest_of(manifest)
    place.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    for name in place.sizes():
        if name.startswith("part-"):
            place.remove(name)
    return manifest
