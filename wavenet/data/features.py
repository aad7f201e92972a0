"""Features of every utterance, computed once and kept beside its prepared audio.

As in `prepare`, a file's name holds a hash of all that it was made from, and files appear whole or not
at all: what was cut off goes on, and what was made with other settings is never mixed in.
"""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from wavenet.atomic_files import atomic_write, os_error_reason, remove_partial_files
from wavenet.audio import AudioError, Features, file_name_for, read
from wavenet.data.corpus import Corpus, Prepared
from wavenet.data.dataset import DatasetError, Skipped
from wavenet.data.prepare import ELSEWHERE
from wavenet.data.process_pool import run_jobs

FEATURES_VERSION = 1
_HEADER = 128  # bytes before the numbers in a .npy file of two dimensions


@dataclass(frozen=True)
class _Job:
    utterance: Prepared
    missing: list[tuple[Features, Path]]

    def __str__(self) -> str:
        return str(self.utterance.source)


def add_features(
    corpus: Corpus,
    features: Sequence[Features],
    num_processes: int | None = None,
    progress: bool = True,
    trimmed: bool = False,
) -> Corpus:
    """Compute features of every utterance, or find them computed.

    Args:
        corpus: A prepared corpus; its cache must be writable.
        features: What to compute, each under a name of its own. They are frozen dataclasses; with
            more than one process, of a module that the others can import.
        num_processes: Processes to use; None decides by the amount of work.
        progress: Whether to show a progress bar.
        trimmed: Whether the corpus was prepared with `trim_db`.

    Returns:
        The corpus with the features. An utterance that lacks one, or whose file does not fit its
        length by more than one frame, is in `Corpus.skipped` instead, with its reason.

    Raises:
        DatasetError: If no utterance is left, a name is taken, features of files are asked for though
            the audio was trimmed, or the cache cannot be written.
    """
    _check(corpus, features, trimmed)
    if not features or not corpus.utterances:
        return dataclasses.replace(corpus, features=(*corpus.features, *features))
    folder = corpus.folder or Path(os.path.commonpath([utterance.path.parent for utterance in corpus.utterances]))
    try:
        with FileLock(folder / ".lock"):
            return _add(corpus, features, num_processes, progress)
    except OSError as error:
        raise DatasetError(
            f"{folder}: the features cannot be written ({os_error_reason(error)}); {ELSEWHERE}"
        ) from error


def _check(corpus: Corpus, features: Sequence[Features], trimmed: bool) -> None:
    taken = {name for utterance in corpus.utterances for name in utterance.conditions}
    taken |= {present.name for present in corpus.features}
    for wanted in features:
        if wanted.name in taken:
            raise DatasetError(f"dataset '{corpus.name}' has a condition '{wanted.name}' already; rename the features")
        taken.add(wanted.name)
        if wanted.reads_files and trimmed:
            raise DatasetError(
                f"the features '{wanted.name}' are read from files, which belong to the untrimmed recordings; "
                "set preparation.trim_db=null"
            )


def _add(corpus: Corpus, features: Sequence[Features], num_processes: int | None, progress: bool) -> Corpus:
    jobs: list[_Job] = []
    files: dict[str, dict[str, Path]] = {}
    reasons: dict[str, str] = {}
    for utterance in corpus.utterances:
        try:
            theirs = {wanted.name: _target(utterance, wanted) for wanted in features}
        except AudioError as error:
            reasons[utterance.id] = str(error)
            continue
        files[utterance.id] = theirs
        missing = [
            (wanted, theirs[wanted.name])
            for wanted in features
            if not _is_whole(theirs[wanted.name], wanted, utterance.num_samples)
        ]
        if missing:
            jobs.append(_Job(utterance, missing))
    for parent in {job.utterance.path.parent for job in jobs}:
        remove_partial_files(parent)
    outcomes = run_jobs(_extract_one, jobs, "preparing features", num_processes, progress)
    for job, failure in zip(jobs, outcomes, strict=True):
        if failure is not None:
            reasons[job.utterance.id] = failure
    usable = [
        dataclasses.replace(utterance, feature_files=utterance.feature_files | files[utterance.id])
        for utterance in corpus.utterances
        if utterance.id not in reasons
    ]
    left_out = [Skipped(name, failure) for name, failure in reasons.items()]
    if not usable:
        some = "; ".join(str(s) for s in left_out[:3])
        raise DatasetError(f"dataset '{corpus.name}': none of {len(reasons)} utterances has all features ({some})")
    skipped = corpus.skipped + left_out
    return dataclasses.replace(corpus, utterances=usable, skipped=skipped, features=(*corpus.features, *features))


def _target(utterance: Prepared, features: Features) -> Path:
    """Where an utterance's features are kept.

    Raises:
        AudioError: If they are read from a file that is not there.
        DatasetError: If their class does not say what their settings are.
    """
    if not dataclasses.is_dataclass(features):  # a changed setting would go unnoticed
        raise DatasetError(f"the features '{features.name}' ({type(features).__name__}) must be a frozen dataclass")
    settings = {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}
    made_from = [FEATURES_VERSION, type(features).__qualname__, settings, utterance.path.name]
    file = _file_of(utterance, features)
    if file is not None:
        try:
            now = file.stat()
        except OSError as error:
            raise AudioError(f"{file}: not readable ({error.strerror})") from error
        made_from += [file.name, now.st_size, now.st_mtime_ns]
    key = hashlib.sha256(json.dumps(made_from, default=str).encode()).hexdigest()[:16]
    return utterance.path.with_name(f"{utterance.path.stem}.{file_name_for(features.name)}-{key}.npy")


def _file_of(utterance: Prepared, features: Features) -> Path | None:
    # Features that read files may say which one, with a method file_of(recording: Path) -> Path that raises
    # AudioError if there is none, as FileFeatures has. Then a changed file is read again.
    file_of = getattr(features, "file_of", None)
    return file_of(utterance.source) if features.reads_files and file_of is not None else None


def _extract_one(job: _Job) -> str | None:
    """Make one utterance's missing feature files; returns why not, if so."""
    try:
        waveform, _ = read(job.utterance.path)
        for features, target in job.missing:
            _write(target, _aligned(features.extract(waveform, job.utterance.source), features, job.utterance))
    except AudioError as error:
        return str(error)
    return None


def _aligned(frames: Tensor, features: Features, utterance: Prepared) -> Tensor:
    """The frames, as many as the utterance has."""
    place = _file_of(utterance, features) or utterance.source
    wanted = features.num_frames(utterance.num_samples)
    if frames.dim() != 2 or frames.shape[0] != features.num_channels or frames.shape[1] == 0:
        raise AudioError(
            f"{place}: the features '{features.name}' are {tuple(frames.shape)}; "
            f"they must be ({features.num_channels}, {wanted})"
        )
    if not bool(frames.isfinite().all()):
        raise AudioError(f"{place}: the features '{features.name}' hold NaN or infinite numbers")
    more = frames.shape[1] - wanted
    if more and not (features.reads_files and abs(more) == 1):  # other programs end a frame sooner or later
        raise AudioError(
            f"{place}: {frames.shape[1]} frames of '{features.name}', but {utterance.num_samples} samples "
            f"at a hop_length of {features.hop_length} have {wanted}"
        )
    return torch.cat([frames, frames[:, -1:]], dim=1) if more < 0 else frames[:, :wanted]


def _is_whole(path: Path, features: Features, num_samples: int) -> bool:
    """Whether a file is there and as large as it must be; a later fault may have damaged it."""
    try:
        return path.stat().st_size == _HEADER + 4 * features.num_channels * features.num_frames(num_samples)
    except FileNotFoundError:
        return False


def _write(path: Path, frames: Tensor) -> None:
    encoded = io.BytesIO()  # numpy would hide the system's reason for a write that fails
    # In Fortran's order the frames of a segment lie side by side on the disk.
    np.save(encoded, np.asfortranarray(frames.detach().numpy().astype(np.float32)))
    with atomic_write(path) as beside:
        beside.write_bytes(encoded.getbuffer())
