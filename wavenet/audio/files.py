"""Audio files in and out."""

import io
import os
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from wavenet.audio.resample import resample
from wavenet.writing import reason, replacing


class AudioError(ValueError):
    """A file that cannot serve as audio; the message names the file and the reason."""


def read(path: str | os.PathLike[str], sample_rate: int | None = None) -> tuple[Tensor, int]:
    """Read a file of any format that soundfile knows, as mono.

    Args:
        path: The file.
        sample_rate: Resample to this rate, Hz; None keeps the file's own.

    Returns:
        The waveform (T,), float32 in [-1, 1], channels averaged; and its rate, Hz.

    Raises:
        AudioError: If there is no such file, it is unreadable or empty, or it holds samples that
            are not numbers or lie outside [-1, 1].
    """
    path = Path(path)
    if not path.is_file():  # also keeps folders and pipes named x.wav away from the decoder
        raise AudioError(f"{path}: no such file")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise AudioError(f"{path}: not readable as audio ({error})") from error
    if not len(samples):
        raise AudioError(f"{path}: empty, no samples")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds NaN or infinite samples")
    peak = float(np.abs(samples).max())
    if peak > 1:
        raise AudioError(f"{path}: samples reach {peak:g}, beyond [-1, 1]; scale the file down by that factor")
    waveform = torch.from_numpy(samples).mean(dim=1)
    if sample_rate is None:
        return waveform, rate
    return resample(waveform, rate, sample_rate), sample_rate


def write(path: str | os.PathLike[str], waveform: Tensor, sample_rate: int) -> None:
    """Write a waveform; the file appears whole or not at all.

    Args:
        path: The file; its ending (.wav, .flac, .ogg ...) names the format. Missing folders are made.
        waveform: (T,) samples in [-1, 1]; stored as 16-bit PCM where the format has it.
        sample_rate: Hz.

    Raises:
        AudioError: If the waveform is not (T,) in [-1, 1], the ending names no format that soundfile
            writes, or the file cannot be written.
    """
    path = Path(path)
    file_format = format_of(path)
    if waveform.dim() != 1 or not bool((waveform.abs() <= 1).all()):
        raise AudioError(f"{path}: the waveform {tuple(waveform.shape)} must be (T,) with samples in [-1, 1]")
    try:
        data = io.BytesIO()  # soundfile's own writing to a file does not say why it failed
        soundfile.write(data, waveform.detach().float().cpu().numpy(), sample_rate, format=file_format)
        with replacing(path) as beside:
            beside.write_bytes(data.getbuffer())
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({reason(error)})") from error
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: cannot be written ({error})") from error


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that a file's ending names, such as "WAV".

    Raises:
        AudioError: If it names none that soundfile writes.
    """
    suffix = Path(path).suffix
    if suffix[1:].upper() not in soundfile.available_formats():
        raise AudioError(f"{path}: '{suffix}' names no audio format; use .wav or .flac")
    return suffix[1:].upper()


def file_name_for(name: str) -> str:
    """A name in which every character that could trouble a file system is an underscore.

    >>> file_name_for("Zoë, p/225")
    'Zoë__p_225'
    """
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
