"""Features of every utterance, computed once and kept beside its prepared audio.

As in `prepare`, a file's name contains a hash of everything that it depends on, and files are written
atomically: an interrupted computation continues where it stopped, and files of other settings are never used.
"""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wavenet.atomic_files import atomic_write, check_no_links, os_error_reason, remove_partial_files
from wavenet.audio import AudioError, Features, file_name_for, read
from wavenet.data.cache_lock import locked
from wavenet.data.corpus import Corpus, IndexedUtterances, Prepared
from wavenet.data.dataset import DatasetError, Skipped
from wavenet.data.mixed import MixedUtterances, join
from wavenet.data.prepare import ELSEWHERE
from wavenet.data.process_pool import run_jobs

FEATURES_VERSION = 1
_HEADER = 128  # bytes before the data in a .npy file of two dimensions


@dataclass(frozen=True)
class _Job:
    utterance: Prepared
    missing: list[tuple[Features, Path]]

    def __str__(self) -> str:
        return str(self.utterance.source)


@dataclass(frozen=True)
class _State:
    """The features of a corpus.

    Attributes:
        jobs: What is still to be written.
        files: The files of each utterance's features, by its id and by their names.
        reasons: Why utterances cannot be used, by their ids.
    """

    jobs: list[_Job]
    files: dict[str, dict[str, Path]]
    reasons: dict[str, str]


def add_features(
    corpus: Corpus,
    features: Sequence[Features],
    num_processes: int | None = None,
    progress: bool = True,
    trimmed: bool = False,
) -> Corpus:
    """Compute features of every utterance, except those already in the cache.

    Args:
        corpus: A prepared corpus; its cache must be writable.
        features: The features to compute, each with a unique name. They are frozen dataclasses; for
            more than one process, their module must be importable.
        num_processes: Processes to use; None decides by the amount of work.
        progress: Whether to show a progress bar.
        trimmed: Whether the corpus was prepared with `trim_db`.

    Returns:
        The corpus with the features. An utterance that lacks one, or whose file differs from its
        length by more than one frame, is in `Corpus.skipped` instead, with the reason.

    Raises:
        DatasetError: If no utterance is left, a name is already used, features are read from files although
            the audio was trimmed, or the cache cannot be written.
    """
    taken = {*corpus.columns.conditions, *(each.name for each in corpus.features)}
    check_features(corpus.name, features, taken, trimmed)
    if isinstance(corpus.utterances, IndexedUtterances):
        corpus.utterances.check_features(features)
    if isinstance(corpus.utterances, MixedUtterances):
        if corpus.utterances.shuffled:
            raise DatasetError(f"dataset '{corpus.name}': its features are added before it is split, not after")
        parts, settings = corpus.utterances.parts, (features, num_processes, progress, trimmed)
        return join([dataclasses.replace(part, corpus=add_features(part.corpus, *settings)) for part in parts])
    utterances = [utterance for utterance in corpus.utterances if isinstance(utterance, Prepared)] if features else []
    if not utterances:
        return dataclasses.replace(corpus, features=(*corpus.features, *features))
    folder = corpus.folder or Path(os.path.commonpath([utterance.path.parent for utterance in utterances]))
    try:
        state = _state(utterances, features)
        if state.jobs:  # what is complete is used without the lock
            with locked(folder):
                state = _state(utterances, features)
                _extract(state, folder, num_processes, progress)
        return _with_features(corpus, utterances, features, state)
    except OSError as error:
        raise DatasetError(
            f"{folder}: the features cannot be written ({os_error_reason(error)}); {ELSEWHERE}"
        ) from error


def check_features(dataset: str, features: Sequence[Features], taken: Iterable[str], trimmed: bool) -> None:
    """Check that features can be added to a dataset.

    Args:
        dataset: Its name.
        features: The features.
        taken: Names that its conditions and features have.
        trimmed: Whether its recordings are trimmed.

    Raises:
        DatasetError: If not; names the features and the fix.
    """
    taken = set(taken)
    for each in features:
        if each.name in taken:
            raise DatasetError(f"dataset '{dataset}' has a condition '{each.name}' already; rename the features")
        taken.add(each.name)
        if each.reads_files and trimmed:
            raise DatasetError(
                f"the features '{each.name}' are read from files, which belong to the untrimmed recordings; "
                "set preparation.trim_db=null"
            )


def _state(utterances: Sequence[Prepared], features: Sequence[Features]) -> _State:
    """Return the features' files, and which are still to be written."""
    state = _State([], {}, {})
    for utterance in utterances:
        try:
            targets = {each.name: _target(utterance, each) for each in features}
        except AudioError as error:
            state.reasons[utterance.id] = str(error)
            continue
        state.files[utterance.id] = targets
        missing = [
            (each, targets[each.name])
            for each in features
            if not _is_complete(targets[each.name], each, utterance.num_samples)
        ]
        if missing:
            state.jobs.append(_Job(utterance, missing))
    return state


def _extract(state: _State, folder: Path, num_processes: int | None, progress: bool) -> None:
    """Write what is still to be written."""
    check_no_links(folder, [target for job in state.jobs for _, target in job.missing])
    for parent in {job.utterance.path.parent for job in state.jobs}:
        remove_partial_files(parent)
    outcomes = run_jobs(_extract_one, state.jobs, "preparing features", num_processes, progress)
    for job, failure in zip(state.jobs, outcomes, strict=True):
        if failure is not None:
            state.reasons[job.utterance.id] = failure


def _with_features(
    corpus: Corpus, utterances: Sequence[Prepared], features: Sequence[Features], state: _State
) -> Corpus:
    reasons = state.reasons
    usable = [
        dataclasses.replace(utterance, feature_files=utterance.feature_files | state.files[utterance.id])
        for utterance in utterances
        if utterance.id not in reasons
    ]
    newly_skipped = [Skipped(name, failure) for name, failure in reasons.items()]
    if not usable:
        first = "; ".join(str(s) for s in newly_skipped[:3])
        raise DatasetError(f"dataset '{corpus.name}': none of {len(reasons)} utterances has all features ({first})")
    skipped = corpus.skipped + newly_skipped
    return dataclasses.replace(corpus, utterances=usable, skipped=skipped, features=(*corpus.features, *features))


def _target(utterance: Prepared, features: Features) -> Path:
    """Return the file of an utterance's features.

    Raises:
        AudioError: If they are read from a file that is missing.
        DatasetError: If their class is not a dataclass, so that their settings are unknown.
    """
    hashed = [FEATURES_VERSION, type(features).__qualname__, settings_of(features), utterance.path.name]
    file = _file_of(utterance.source, features)
    if file is not None:
        try:
            status = file.stat()
        except OSError as error:
            raise AudioError(f"{file}: not readable ({error.strerror})") from error
        hashed += [file.name, status.st_size, status.st_mtime_ns]
    key = hashlib.sha256(json.dumps(hashed, default=str).encode()).hexdigest()[:16]
    return utterance.path.with_name(f"{utterance.path.stem}.{file_name_for(features.name)}-{key}.npy")


def settings_of(features: Features) -> dict[str, Any]:
    """Return the settings that a feature's frames depend on.

    Raises:
        DatasetError: If its class is no dataclass, so that they are unknown.
    """
    if not dataclasses.is_dataclass(features):  # otherwise a changed setting would go unnoticed
        raise DatasetError(f"the features '{features.name}' ({type(features).__name__}) must be a frozen dataclass")
    return {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}


def _file_of(source: Path, features: Features) -> Path | None:
    # Features that read files may name the file with a method file_of(recording: Path) -> Path that raises
    # AudioError if there is none, as in FileFeatures. Then a changed file is read again.
    file_of = getattr(features, "file_of", None)
    return file_of(source) if features.reads_files and file_of is not None else None


def _extract_one(job: _Job) -> str | None:
    """Write one utterance's missing feature files; return the reason if that is impossible, else None."""
    try:
        waveform, _ = read(job.utterance.path)
        for features, target in job.missing:
            frames = features.extract(waveform, job.utterance.source)
            _write(target, aligned(frames, features, job.utterance.num_samples, job.utterance.source))
    except AudioError as error:
        return str(error)
    return None


def aligned(frames: Tensor, features: Features, num_samples: int, source: Path) -> Tensor:
    """Return an utterance's frames, as many as its samples have.

    Raises:
        AudioError: If they are of another shape or length, or not finite; names the recording or the features' file.
    """
    place = _file_of(source, features) or source
    num_frames = features.num_frames(num_samples)
    if frames.dim() != 2 or frames.shape[0] != features.num_channels or frames.shape[1] == 0:
        raise AudioError(
            f"{place}: the features '{features.name}' are {tuple(frames.shape)}; "
            f"they must be ({features.num_channels}, {num_frames})"
        )
    if not bool(frames.isfinite().all()):
        raise AudioError(f"{place}: the features '{features.name}' hold NaN or infinite numbers")
    surplus = frames.shape[1] - num_frames
    if surplus and not (features.reads_files and abs(surplus) == 1):  # other programs end a frame earlier or later
        raise AudioError(
            f"{place}: {frames.shape[1]} frames of '{features.name}', but {num_samples} samples "
            f"at a hop_length of {features.hop_length} have {num_frames}"
        )
    return torch.cat([frames, frames[:, -1:]], dim=1) if surplus < 0 else frames[:, :num_frames]


def _is_complete(path: Path, features: Features, num_samples: int) -> bool:
    """Return whether a file exists and has the right size; it may have been damaged after it was written."""
    try:
        return path.stat().st_size == _HEADER + 4 * features.num_channels * features.num_frames(num_samples)
    except FileNotFoundError:
        return False


def _write(path: Path, frames: Tensor) -> None:
    encoded = io.BytesIO()  # numpy would hide the system's reason for a failed write
    # In Fortran order, the frames of a segment are contiguous on the disk.
    np.save(encoded, np.asfortranarray(frames.detach().numpy().astype(np.float32)))
    with atomic_write(path) as beside:
        beside.write_bytes(encoded.getbuffer())
