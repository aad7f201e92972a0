"""An uploaded recording."""

import tempfile
from collections.abc import AsyncIterable
from pathlib import Path

import anyio
from torch import Tensor

from wavenet.atomic_files import os_error_reason
from wavenet.audio import AudioError, read

UPLOAD_TIMEOUT = 60.0  # seconds that a recording may take to arrive


class TooLargeError(ValueError):
    """The upload is too large."""


async def collect(chunks: AsyncIterable[bytes], max_bytes: int, claimed: int = 0) -> bytes:
    """Read the body of a request, up to the limit, whatever length its header claims.

    Args:
        chunks: The body's bytes, as they arrive.
        max_bytes: Maximum size; 0 where no recording is expected.
        claimed: Size in the header; if it is too large, the body is rejected before it has arrived.

    Raises:
        TooLargeError: If the size, or the claimed size, exceeds the maximum.
        TimeoutError: If the body takes longer than `UPLOAD_TIMEOUT`.
    """
    data = bytearray()
    with anyio.fail_after(UPLOAD_TIMEOUT):
        async for chunk in chunks:
            if max(len(data) + len(chunk), claimed) > max_bytes:
                raise TooLargeError(
                    f"your recording is larger than {max_bytes / 2**20:.3g} MB; send a shorter one"
                    if max_bytes
                    else "the request has a recording, but mode=free does not use one"
                )
            data += chunk
    return bytes(data)


def decode(data: bytes, sample_rate: int, max_seconds: float) -> Tensor:
    """Decode an uploaded recording, as `wavenet generate` reads it.

    Args:
        data: The file, in any format that soundfile reads; its name is not used.
        sample_rate: Resample to this rate, Hz.
        max_seconds: Maximum length.

    Returns:
        (T,), float32 in [-1, 1].

    Raises:
        AudioError: If the recording cannot be used; names the reason.
    """
    if not data:
        raise AudioError("your recording: empty or missing; choose another file, or record one")
    try:
        with tempfile.TemporaryDirectory(prefix="wavenet-demo-") as folder:
            path = Path(folder) / "recording"
            path.write_bytes(data)
            try:
                return read(path, sample_rate, max_seconds)[0]
            except AudioError as error:
                message = str(error).removeprefix(f"{path}: ")
                hint = "; supported are WAV, FLAC, Ogg and MP3" if message.startswith("not readable") else ""
                raise AudioError(f"your recording: {message}{hint}") from None
    except OSError as error:
        raise AudioError(f"your recording: the server cannot store it ({os_error_reason(error)})") from None
