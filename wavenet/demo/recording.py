"""A recording that somebody sends."""

import tempfile
from collections.abc import AsyncIterable
from pathlib import Path

import anyio
from torch import Tensor

from wavenet.audio import AudioError, read

_PATIENCE = 60.0  # seconds that a recording may take to arrive


class TooLargeError(ValueError):
    """More bytes than are taken."""


async def collect(pieces: AsyncIterable[bytes], most: int, patience: float = _PATIENCE) -> bytes:
    """The body of a request, whatever length its header claims; never held beyond the limit.

    Args:
        pieces: Its bytes, as they come.
        most: How many are taken.
        patience: Seconds that they may take.

    Raises:
        TooLargeError: If there are more.
        TimeoutError: If they take longer.
    """
    data = bytearray()
    with anyio.fail_after(patience):
        async for piece in pieces:
            if len(data) + len(piece) > most:
                raise TooLargeError(f"your recording has more than {most / 2**20:.3g} MB; send a shorter one")
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
    with tempfile.TemporaryDirectory(prefix="wavenet-demo-") as folder:
        path = Path(folder) / "recording"
        path.write_bytes(data)
        try:
            return read(path, sample_rate, max_seconds)[0]
        except AudioError as error:
            raise AudioError(f"your recording: {str(error).removeprefix(f'{path}: ')}") from None
