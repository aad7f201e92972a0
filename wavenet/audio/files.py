"""Reading and writing of audio files."""

import hashlib
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from wavenet.atomic_files import atomic_write, os_error_reason
from wavenet.audio import compressed
from wavenet.audio.containers import ends_early, incomplete
from wavenet.audio.resample import resample
from wavenet.audio.samples import as_int16
from wavenet.bounds import RATES

MIN_RATE, MAX_RATE = RATES.low, RATES.high
MAX_CHANNELS = 64
MAX_SECONDS = 12 * 3600  # of one file, which is loaded into memory
_SAMPLES_PER_BYTE = 1000  # more than any format achieves for sound; pure silence can be smaller still
_UNKNOWN = 2**63 - 1  # frames of a file that was written to a pipe, whose header lacks the length
_OVERSHOOT = 2.0  # peak that lossy formats may reach for a loud recording; samples are clipped to [-1, 1]
_TIPS = 10 ** (1 / 20)  # peak, 1 dB above full scale, up to which samples of other formats are clipped as well
_CANCELLED = 0.01  # span of the averaged channels relative to the widest channel's, below which they cancel
_FAINT = 2e-3  # span of the widest channel, below which a file is silent anyway
_MAX_NAME = 100  # bytes of a file name made from a name
_BLOCK = 2**22  # samples decoded at once
_HEAD = 16  # bytes that show a file's format
_SOUND = re.compile(
    rb"(RIFF|RIFX|RF64)....WAVE|riff\x2e\x91\xcf\x11|FORM....(AIF[FC]|8SVX)|fLaC|OggS|\.snd|dns\.|caff|NIST_1A|"
    rb"Creative Voice|ID3|\xff[\xfb\xfa\xf3\xf2]",
    re.DOTALL,
)
_READABLE = {f".{name.lower()}" for name in soundfile.available_formats()} - {".mat", ".mat4", ".mat5"}
_ALIASES = {".aif", ".aifc", ".opus", ".oga", ".pcm", ".sph", ".wave", ".snd"}
_SUFFIXES = frozenset(_READABLE | _ALIASES | compressed.SUFFIXES)
_OTHER_SUFFIXES = {".csv", ".jpeg", ".jpg", ".json", ".lab", ".md", ".npy", ".png", ".textgrid", ".txt", ".xml"}


class AudioError(ValueError):
    """Error of a file that cannot be used as audio; the message names the file and the reason."""


def read(
    path: str | os.PathLike[str], sample_rate: int | None = None, max_seconds: float = MAX_SECONDS
) -> tuple[Tensor, int]:
    """Read a file of any format that soundfile supports, or PyAV if it is installed (see `compressed`), as mono.

    Memory is allocated for the samples in the file, whatever its header claims. Samples beyond full scale are
    clipped, as when a file is played: lossy formats decode a loud recording to somewhat more than full scale, and files
    of floats may exceed it by up to 1 dB. What is louder would be distorted, and is refused.

    Args:
        path: The file.
        sample_rate: Resample to this rate, Hz; None keeps the file's own.
        max_seconds: Longer files are refused; they are decoded only until the limit is exceeded.

    Returns:
        The waveform (T,), float32 in [-1, 1], channels averaged; and its rate, Hz.

    Raises:
        AudioError: If the file is missing, unreadable, truncated, empty or too long, its header has an implausible
            rate, number of channels or length, it contains samples that are not numbers or are too far outside
            [-1, 1], or its channels cancel each other.
    """
    path = Path(path)
    try:
        samples, rate = _decode(path, max_seconds) if _is_compressed(path) else _read(path, max_seconds)
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise AudioError(f"{path}: not readable as audio ({_reason(error)})") from error
    if not len(samples):
        raise AudioError(f"{path}: empty, no samples")
    waveform = torch.from_numpy(samples)
    if sample_rate is None:
        return waveform, rate
    return resample(waveform, rate, sample_rate), sample_rate


def _read(path: Path, max_seconds: float) -> tuple[np.ndarray, int]:
    with _open(path, max_seconds) as sound:
        lossy = sound.format in ("OGG", "MP3")
        samples = _average(path, _blocks(sound), sound.samplerate, max_seconds, lossy)
        _check_frames(path, sound, len(samples))
        return samples, sound.samplerate


def _decode(path: Path, max_seconds: float) -> tuple[np.ndarray, int]:
    if not compressed.is_installed():
        raise AudioError(f"{path}: {compressed.how_to_read(path)}")
    try:
        sound = compressed.decode(path)
        _check_header(path, sound.sample_rate, sound.channels)
        return _average(path, sound.blocks, sound.sample_rate, max_seconds, lossy=True), sound.sample_rate
    except AudioError:
        raise
    except ValueError as error:
        raise AudioError(f"{path}: {error}") from error


def _is_compressed(path: Path) -> bool:
    """Return whether a file is of a format that soundfile does not read, by its content, or by its name."""
    head = _head(path)
    if compressed.is_compressed(head):
        return True
    return path.suffix.lower() in compressed.SUFFIXES and path.is_file() and _SOUND.match(head) is None


def _head(path: Path) -> bytes:
    """Return the bytes that show a file's format; none unless it is a regular file, as opening a pipe could block."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD)


def looks_like_audio(path: Path) -> bool:
    """Return whether a file is audio, by its name or, if that does not tell, by its content; hidden files are not."""
    suffix = path.suffix.lower()
    if path.name.startswith(".") or suffix in _OTHER_SUFFIXES:
        return False
    if suffix in _SUFFIXES:
        return True
    try:
        head = _head(path)
    except OSError:
        return False
    return _SOUND.match(head) is not None or compressed.is_compressed(head)


def claimed_seconds(path: str | os.PathLike[str]) -> float | None:
    """Return the length in seconds that a file's header claims; None if it has none.

    Raises:
        AudioError: As in `read`, as far as the header shows it.
    """
    path = Path(path)
    try:
        if _is_compressed(path):
            return None
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
    if path.suffix.lower() in (".raw", ".pcm"):
        raise AudioError(f"{path}: raw samples without a header; convert it to .wav")
    with path.open("rb", buffering=0) as file:  # the system's error is clearer than the decoder's
        # soundfile opens Unicode paths only; on Windows it cannot take an open file instead.
        sound = _SequentialFile(str(path) if os.name == "nt" else file.fileno(), closefd=False)
        with sound:
            _check_complete(path, sound)
            _check_header(path, sound.samplerate, sound.channels)
            if sound.frames != _UNKNOWN:
                _check_length(path, sound.frames, sound.samplerate, max_seconds)
            yield sound


def _check_header(path: Path, rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"{path}: its header says {rate} Hz; a recording has {MIN_RATE} to {MAX_RATE}")
    if channels > MAX_CHANNELS:
        raise AudioError(f"{path}: its header says {channels} channels; a recording has up to {MAX_CHANNELS}")


def _check_complete(path: Path, sound: _SequentialFile) -> None:
    with path.open("rb") as file:  # apart from the decoder's, whose position must not change
        reason = incomplete(file, path.stat().st_size, sound.format, sound.frames)
    if reason is not None:
        raise AudioError(f"{path}: {reason}")


def _check_length(path: Path, frames: int, rate: int, max_seconds: float) -> None:
    if frames > max_seconds * rate:
        longest = f"{max_seconds / 3600:g} hours" if max_seconds >= 3600 else f"{max_seconds:g} s"
        raise AudioError(f"{path}: longer than {longest}, or damaged; cut it into shorter files")
    size = path.stat().st_size
    if frames > _SAMPLES_PER_BYTE * size:
        raise AudioError(f"{path}: {frames / rate:.0f} s of sound in {size} bytes; it is damaged, or all silence")


def _blocks(sound: _SequentialFile) -> Iterator[np.ndarray]:
    """Decode a file in blocks (frames, channels) until no samples are left."""
    frames = max(1, min(sound.frames, _BLOCK // sound.channels))
    while len(block := sound.read(frames, dtype="float32", always_2d=True)):
        yield block


def _average(path: Path, blocks: Iterable[np.ndarray], rate: int, max_seconds: float, lossy: bool) -> np.ndarray:
    """Return all samples of a file, channels averaged, (T,) float32, clipped to [-1, 1] and checked."""
    averaged: list[np.ndarray] = []
    frames, peak, low, high = 0, 0.0, np.array(np.inf), np.array(-np.inf)  # the last two of each channel
    for block in filter(len, blocks):
        if not np.isfinite(block).all():
            raise AudioError(f"{path}: holds NaN or infinite samples")
        frames += len(block)
        _check_length(path, frames, rate, max_seconds)
        peak = max(peak, float(np.abs(block).max()))
        clipped = block.clip(-1, 1) if peak > 1 else block
        averaged.append(clipped.mean(axis=1) if block.shape[1] > 1 else clipped[:, 0])
        low, high = np.minimum(low, clipped.min(axis=0)), np.maximum(high, clipped.max(axis=0))
    waveform = averaged[0] if len(averaged) == 1 else np.concatenate([*averaged, np.zeros(0, np.float32)])
    _check_levels(path, peak, lossy, float((high - low).max()), waveform)
    return waveform


def _check_frames(path: Path, sound: _SequentialFile, frames: int) -> None:
    if sound.frames not in (frames, _UNKNOWN) and sound.format != "MP3":  # whose length may be an estimate
        raise AudioError(f"{path}: {ends_early(sound.frames, frames, sound.samplerate)}")


def _check_levels(path: Path, peak: float, lossy: bool, span: float, waveform: np.ndarray) -> None:
    if peak > (_OVERSHOOT if lossy else _TIPS):
        decibels = 20 * math.log10(peak)
        raise AudioError(
            f"{path}: samples reach {peak:.6g}, which is {decibels:.1f} dB above full scale; multiply them by "
            f"{math.floor(1e4 / peak) / 1e4 if peak < 100 else 1 / peak:.4g} or less"
        )
    if span > _FAINT and float(np.ptp(waveform)) < _CANCELLED * span:
        raise AudioError(
            f"{path}: its channels are in opposite phase and cancel each other when averaged; keep one of them: "
            "ffmpeg -i IN -af 'pan=mono|c0=c0' OUT.wav"
        )


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
        samples = waveform.detach().float().cpu().numpy()
        if soundfile.default_subtype(file_format) == "PCM_16":
            samples = as_int16(samples)  # libsndfile would cut off the rest instead of rounding
        soundfile.write(encoded, samples, sample_rate, format=file_format)
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
