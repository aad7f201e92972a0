"""Reading and writing of audio files."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from wavenet.atomic_files import atomic_write, os_error_reason
from wavenet.audio.resample import resample
from wavenet.bounds import RATES

MIN_RATE, MAX_RATE = RATES.low, RATES.high
MAX_CHANNELS = 64
MAX_SECONDS = 12 * 3600  # of one file, which is loaded into memory
_SAMPLES_PER_BYTE = 1000  # more than any format achieves for sound; pure silence can be smaller still
_UNKNOWN = 2**63 - 1  # frames of a file that was written to a pipe, whose header lacks the length
_PIPED = 0x7FFFF000  # bytes; programs that write to a pipe put this size or more into the header
_SLACK = 64  # bytes of tolerance; some programs count their header twice, or a byte that they do not write
_OVERSHOOT = 2.0  # peak that lossy formats may reach for a loud recording; samples are clipped to [-1, 1]
_MAX_NAME = 100  # bytes of a file name made from a name
_BLOCK = 2**22  # samples decoded at once


class AudioError(ValueError):
    """Error of a file that cannot be used as audio; the message names the file and the reason."""


def read(
    path: str | os.PathLike[str], sample_rate: int | None = None, max_seconds: float = MAX_SECONDS
) -> tuple[Tensor, int]:
    """Read a file of any format that soundfile supports, as mono.

    Memory is allocated for the samples in the file, whatever its header claims.

    Args:
        path: The file.
        sample_rate: Resample to this rate, Hz; None keeps the file's own.
        max_seconds: Longer files are refused; they are decoded only until the limit is exceeded.

    Returns:
        The waveform (T,), float32 in [-1, 1], channels averaged; and its rate, Hz.

    Raises:
        AudioError: If the file is missing, unreadable, truncated, empty or too long, its header has an implausible
            rate, number of channels or length, or it contains samples that are not numbers or are outside
            [-1, 1] by more than a lossy format causes for a loud recording.
    """
    path = Path(path)
    try:
        with _open(path, max_seconds) as sound:
            rate = sound.samplerate
            waveform = torch.from_numpy(_read_mono(path, sound, max_seconds))
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise AudioError(f"{path}: not readable as audio ({_reason(error)})") from error
    if sample_rate is None:
        return waveform, rate
    return resample(waveform, rate, sample_rate), sample_rate


def claimed_seconds(path: str | os.PathLike[str]) -> float | None:
    """Return the length in seconds that a file's header claims; None if it has none.

    Raises:
        AudioError: As in `read`, as far as the header shows it.
    """
    path = Path(path)
    try:
        with _open(path) as sound:
            return None if sound.frames == _UNKNOWN else sound.frames / sound.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path}: not readable as audio ({_reason(error)})") from error


class _SequentialFile(soundfile.SoundFile):
    """A sound file that is read from beginning to end, without the seek that otherwise follows every read.

    In a damaged file, a decoder that seeks reports the failed seek instead of the damage.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _open(path: Path, max_seconds: float = MAX_SECONDS) -> Iterator[_SequentialFile]:
    """Open a file after checking that its header is plausible."""
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if not path.is_file():  # reading a pipe could block for ever
        raise AudioError(f"{path}: not a file, but a {'folder' if path.is_dir() else 'pipe or a device'}")
    if path.suffix.lower() == ".raw":
        raise AudioError(f"{path}: raw samples without a header; convert it to .wav")
    with path.open("rb", buffering=0) as file:  # the system's error is clearer than the decoder's
        head = file.read(8)
        file.seek(0)
        # soundfile opens Unicode paths only; on Windows it cannot take an open file instead.
        sound = _SequentialFile(str(path) if os.name == "nt" else file.fileno(), closefd=False)
        with sound:
            _check_complete(path, head)
            yield _check_header(path, sound, max_seconds)


def _check_header(path: Path, sound: _SequentialFile, max_seconds: float) -> _SequentialFile:
    if not MIN_RATE <= sound.samplerate <= MAX_RATE:
        raise AudioError(f"{path}: its header says {sound.samplerate} Hz; a recording has {MIN_RATE} to {MAX_RATE}")
    if sound.channels > MAX_CHANNELS:
        raise AudioError(f"{path}: its header says {sound.channels} channels; a recording has up to {MAX_CHANNELS}")
    if sound.frames != _UNKNOWN:
        _check_length(path, sound.frames, sound.samplerate, max_seconds)
    return sound


def _check_complete(path: Path, head: bytes) -> None:
    # libsndfile reads a truncated WAV or AIFF as a shorter file.
    if head[:4] not in (b"RIFF", b"FORM"):
        return
    claimed = 8 + int.from_bytes(head[4:], "little" if head[:4] == b"RIFF" else "big")
    size = path.stat().st_size
    if size + _SLACK < claimed < _PIPED:
        raise AudioError(f"{path}: cut off; its header says {claimed} bytes, it has {size}")


def _check_length(path: Path, frames: int, rate: int, max_seconds: float) -> None:
    if frames > max_seconds * rate:
        longest = f"{max_seconds / 3600:g} hours" if max_seconds >= 3600 else f"{max_seconds:g} s"
        raise AudioError(f"{path}: longer than {longest}, or damaged; cut it into shorter files")
    size = path.stat().st_size
    if frames > _SAMPLES_PER_BYTE * size:
        raise AudioError(f"{path}: {frames / rate:.0f} s of sound in {size} bytes; it is damaged, or all silence")


def _read_mono(path: Path, sound: _SequentialFile, max_seconds: float) -> np.ndarray:
    """Return all samples of a file, channels averaged, (T,) float32; decoded in blocks until none are left."""
    blocks: list[np.ndarray] = []
    frames, peak = 0, 0.0
    limit = _OVERSHOOT if sound.format in ("OGG", "MP3") else 1.0
    block_frames = max(1, min(sound.frames, _BLOCK // sound.channels))
    while True:
        block = sound.read(block_frames, dtype="float32", always_2d=True)
        if not len(block):
            break
        if not np.isfinite(block).all():
            raise AudioError(f"{path}: holds NaN or infinite samples")
        frames += len(block)
        _check_length(path, frames, sound.samplerate, max_seconds)
        peak = max(peak, float(np.abs(block).max()))
        if peak > 1:
            block = block.clip(-1, 1)
        blocks.append(block.mean(axis=1) if sound.channels > 1 else block[:, 0])
    if sound.frames not in (frames, _UNKNOWN) and sound.format != "MP3":  # whose length may be an estimate
        raise AudioError(
            f"{path}: cut off or damaged; its header says {sound.frames / sound.samplerate:.3f} s, "
            f"it ends after {frames / sound.samplerate:.3f}"
        )
    if not frames:
        raise AudioError(f"{path}: empty, no samples")
    if peak > limit:
        raise AudioError(f"{path}: samples reach {peak:g}, beyond [-1, 1]; scale the file down by that factor")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _reason(error: Exception) -> str:
    """Return the message of the decoder or the system, without the file's name."""
    if isinstance(error, soundfile.LibsndfileError):
        return error.error_string.rstrip(".")
    return error.strerror or str(error) if isinstance(error, OSError) else str(error) or type(error).__name__


def write(path: str | os.PathLike[str], waveform: Tensor, sample_rate: int) -> None:
    """Write a waveform to a file, atomically.

    Args:
        path: The file; its suffix (.wav, .flac, .ogg ...) selects the format. Missing folders are created.
        waveform: (T,) samples in [-1, 1]; stored as 16-bit PCM if the format supports it.
        sample_rate: Hz.

    Raises:
        AudioError: If the waveform is not (T,) in [-1, 1], the suffix is not of a format that soundfile
            writes, or the file cannot be written.
    """
    path = Path(path)
    file_format = format_of(path)
    if waveform.dim() != 1 or not bool((waveform.abs() <= 1).all()):
        raise AudioError(f"{path}: the waveform {tuple(waveform.shape)} must be (T,) with samples in [-1, 1]")
    encoded = io.BytesIO()  # libsndfile would hide the system's reason for a failed write
    try:
        soundfile.write(encoded, waveform.detach().float().cpu().numpy(), sample_rate, format=file_format)
        with atomic_write(path) as beside:
            beside.write_bytes(encoded.getbuffer())
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({os_error_reason(error)})") from error
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: cannot be written ({error})") from error


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format of a file's suffix, such as "WAV".

    Raises:
        AudioError: If it is not one that soundfile writes.
    """
    suffix = Path(path).suffix
    if not soundfile.check_format(suffix[1:].upper()):  # which headerless RAW fails
        raise AudioError(f"{path}: '{suffix}' is not an audio format; use .wav or .flac")
    return suffix[1:].upper()


def file_name_for(name: str) -> str:
    """Return a name in which every character unsafe for file systems is replaced by an underscore.

    >>> file_name_for("Zoë, p/225")
    'Zoë__p_225'
    """
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def unique_file_names(names: Iterable[str]) -> dict[str, str]:
    """Return a file name for each name: that of `file_name_for`, with a hash where it is too long or not unique.

    File systems may ignore case, and limit names to 255 bytes.

    >>> list(unique_file_names(["a b", "a_b", "june"]).values())
    ['a_b-c8687a08', 'a_b-648fa9b3', 'june']
    """
    plain = {name: file_name_for(name) for name in names}
    count = Counter(file.casefold() for file in plain.values())
    return {
        name: file if count[file.casefold()] == 1 and len(file.encode()) <= _MAX_NAME else _with_hash(file, name)
        for name, file in plain.items()
    }


def _with_hash(file: str, name: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{file.encode()[:_MAX_NAME].decode(errors='ignore')}-{digest}"
