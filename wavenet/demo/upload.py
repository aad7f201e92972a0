"""A recording that somebody sends."""

import tempfile
from collections.abc import AsyncIterable
from pathlib import Path

import anyio
from torch import Tensor

from wavenet.atomic_files import os_error_reason
from wavenet.audio import AudioError, read

PATIENCE = 60.0  # seconds that a recording may take to arrive


class TooLargeError(ValueError):
    """More bytes than are taken."""


async def collect(chunks: AsyncIterable[bytes], most: int, claimed: int = 0) -> bytes:
    """The body of a request; never held beyond the limit, whatever length its header claims.

    Args:
        chunks: Its bytes, as they come.
        most: How many are taken; 0 where no recording is.
        claimed: How many the header claims: too many need not come to be refused.

    Raises:
        TooLargeError: If there are more, or are claimed to be.
        TimeoutError: If they take longer than `PATIENCE`.
    """
    data = bytearray()
    with anyio.fail_after(PATIENCE):
        async for piece in chunks:
            if max(len(data) + len(piece), claimed) > most:
                raise TooLargeError(
                    f"your recording has more than {most / 2**20:.3g} MB; send a shorter one"
                    if most
                    else "a recording came along, but mode=free takes none"
                )
            data += piece
    return bytes(data)


def decode(data: bytes, sample_rate: int, max_seconds: float) -> Tensor:
    """The waveform of a recording's file, as `wavenet generate` reads it.

    Args:
        data: The file, of any format that soundfile knows. What it was called is not asked.
        sample_rate: Resample to this rate, Hz.
        max_seconds: How long it may be.

    Returns:
        (T,), float32 in [-1, 1].

    Raises:
        AudioError: Says what is wrong with it.
    """
    if not data:
        raise AudioError("your recording: there is none; choose a file, or record one")
    try:
        with tempfile.TemporaryDirectory(prefix="wavenet-demo-") as folder:
            path = Path(folder) / "recording"
            path.write_bytes(data)
            try:
                return read(path, sample_rate, max_seconds)[0]
            except AudioError as error:
                said = str(error).removeprefix(f"{path}: ")
                hint = "; WAV, FLAC, Ogg and MP3 are read" if said.startswith("not readable") else ""
                raise AudioError(f"your recording: {said}{hint}") from None
    except OSError as error:
        raise AudioError(f"your recording: the server has no place for it ({os_error_reason(error)})") from None
