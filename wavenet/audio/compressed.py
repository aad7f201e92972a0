"""Decoding of M4A, WebM, WMA, AMR and other files that libsndfile does not read.

The decoder is PyAV (https://pyav.org), the maintained Python binding of FFmpeg's libraries, which its wheels contain
for all systems and versions of Python that this package supports. It is an extra, as it is large and most corpora do
not need it.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wavenet.audio.containers import ends_early
from wavenet.extras import install_command

SUFFIXES = frozenset(
    (
        *(".3gp", ".aac", ".ac3", ".alac", ".amr", ".ape", ".asf", ".avi", ".dts", ".eac3", ".flv", ".m4a", ".m4b"),
        *(".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp4", ".mpc", ".mpeg", ".mpg", ".ra", ".spx", ".tak", ".tta"),
        *(".webm", ".wma", ".wmv", ".wv"),
    )
)
_CONTENT = re.compile(
    rb"....ftyp|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11|#!AMR|\xff[\xf1\xf9]|MAC |wvpk|TTA1|MPCK|MP\+|"
    rb"\.RMF|FLV\x01",
    re.DOTALL,
)
_MISSING = 0.1  # seconds that may be missing at the end, as containers round durations


class Sound(NamedTuple):
    """A file that is being decoded.

    Attributes:
        sample_rate: Hz.
        channels: Number of channels.
        blocks: The samples, block by block, (frames, channels) float32.
    """

    sample_rate: int
    channels: int
    blocks: Iterator[np.ndarray]


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is of a format that the decoder reads."""
    return _CONTENT.match(head) is not None


def how_to_read(path: Path) -> str:
    """Return what to do about a file that cannot be read without the decoder."""
    convert = f"ffmpeg -i {path.name} {path.with_suffix('.wav').name}"
    return f"needs PyAV: {install_command('decode')}, or convert it: {convert}"


def is_installed() -> bool:
    """Return whether the decoder is installed."""
    return find_spec("av") is not None


def decode(path: Path) -> Sound:
    """Open a file and decode its first audio stream.

    Samples that an encoder added at the beginning or the end are cut off where the container says so; raw AAC does not.

    Raises:
        ValueError: If it cannot be decoded, also later, from the blocks; gives the reason.
    """
    import av.error  # noqa: PLC0415 - an extra

    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"not readable as audio ({_reason(error)})") from error
    if not container.streams.audio:
        container.close()
        raise ValueError("has no audio")
    stream = container.streams.audio[0]
    return Sound(stream.sample_rate, stream.channels, _blocks(container, stream))


def _blocks(container: Any, stream: Any) -> Iterator[np.ndarray]:
    import av.error  # noqa: PLC0415 - an extra

    rate = stream.sample_rate
    expected = None if stream.duration is None else round(float(stream.duration * stream.time_base) * rate)
    convert = av.AudioResampler(format="flt", layout=stream.codec_context.layout, rate=rate)
    done = 0
    with container:
        try:
            for frame in container.decode(stream):
                for converted in convert.resample(frame):
                    block = converted.to_ndarray().reshape(-1, stream.channels)
                    block = block if expected is None else block[: max(0, expected - done)]
                    done += len(block)
                    yield block
        except (av.error.FFmpegError, OSError) as error:
            raise ValueError(f"damaged after {done / rate:.3f} s ({_reason(error)})") from error
    if expected is not None and done < expected - _MISSING * rate:
        raise ValueError(ends_early(expected, done, rate))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
