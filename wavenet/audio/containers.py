"""Whether the headers of audio files agree with what the files hold.

libsndfile believes a header that says less than there is, and for most containers it reads a file that was cut off as
a shorter one, without an error. So the lengths in the headers are compared with the file here.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

_UNKNOWN = 0x7FFFF000  # bytes; a program that writes to a pipe puts this length or more into a 32-bit header
_SLACK = 64  # bytes of tolerance; some programs count their header twice, or a byte that they do not write
_ID = re.compile(rb"[ -~]{4}")  # of a chunk
_SOUND = (b"data", b"SSND", b"BODY")  # ids of the chunks with the samples
_METADATA = frozenset(
    (
        *(b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"cue ", b"smpl", b"inst", b"fact", b"JUNK", b"junk"),
        *(b"PAD ", b"FLLR", b"_PMX", b"PEAK", b"plst", b"acid", b"cart", b"MARK", b"NAME", b"AUTH", b"ANNO", b"COMT"),
        *(b"APPL", b"INST", b"CHAN", b"info", b"free", b"uuid", b"TAG+"),
    )
)
_XING = re.compile(rb"Xing|Info")
_PACKET = 127  # bytes of a packet in a sample dump
_TAIL = 2**16  # bytes; no page of an Ogg file is longer

Order = Literal["little", "big"]
Chunk = tuple[bytes, int, int]  # its id, and where its contents begin and end


def incomplete(file: BinaryIO, size: int, container: str, frames: int) -> str | None:
    """Return why a file does not hold what its header says, or the header says less than the file holds.

    Raw, PAF, PVF and IRCAM files have no length in their headers, so that nothing can be said of them.

    Args:
        file: The file, open.
        size: Its size, bytes.
        container: Its format, as soundfile names it.
        frames: Frames that libsndfile finds in it.

    Returns:
        The reason, or None.
    """
    file.seek(0)
    head = file.read(4096)
    if container in _CHUNKS:
        return _of_chunks(file, _CHUNKS[container](file, size), size)
    if container in _HEADERS:
        return _HEADERS[container](head, size, frames)
    if container == "VOC":
        return _of_voc(file, size, int.from_bytes(head[20:22], "little"))
    return _of_ogg(file, size) if container == "OGG" else None


def ends_early(claimed: int, frames: int, rate: int) -> str:
    """Return the reason for refusing a file that decodes to other frames than its header says."""
    return f"cut off or damaged; its header says {claimed / rate:.3f} s, it ends after {frames / rate:.3f}"


def _of_length(end: int, size: int) -> str | None:
    """Compare where a header says that the samples end with the size of the file."""
    return _more(end, size) if end < size - _SLACK else _cut_off(end, size)


def _cut_off(claimed: int, size: int, slack: int = _SLACK) -> str | None:
    return f"cut off; its header says {claimed} bytes, it has {size}" if size + slack < claimed < 2**62 else None


def _more(end: int, size: int) -> str:
    return (
        f"its header says that the sound ends after {end} bytes, and the file has {size}, as if the recording was not "
        "finished, or exceeds 4 GiB; repair it, such as with: sox --ignore-length IN OUT.wav"
    )


def _riff(file: BinaryIO, size: int) -> Iterator[Chunk]:
    """Yield the chunks of a WAV file, or of an RF64 file, whose real length is in another chunk."""
    file.seek(0)
    head = file.read(36)
    long = int.from_bytes(head[28:36], "little") if head[:4] == b"RF64" and head[12:16] == b"ds64" else None
    return _chunks(file, size, 12, 4, "big" if head[:4] == b"RIFX" else "little", long)


def _chunks(
    file: BinaryIO, size: int, start: int, width: int, order: Order, long: int | None = None
) -> Iterator[Chunk]:
    """Yield chunks from one to the next, as long as there is a name where one must begin.

    Args:
        file: The file.
        size: Its size.
        start: Where the first one begins.
        width: Bytes of a length.
        order: "big" or "little".
        long: The length of the sound, if it does not fit into its chunk's header.
    """
    aligned = width == 4  # to even bytes
    while start + 4 + width <= size:
        file.seek(start)
        header = file.read(4 + width)
        if header[:3] == b"TAG" and size - start == 128:  # ID3v1
            header = b"TAG+" + (128 - 4 - width).to_bytes(width, order)
        if not _ID.fullmatch(header[:4]):
            return
        length = int.from_bytes(header[4:], order)
        if header[:4] in _SOUND and length >= (_UNKNOWN if width == 4 else 2**63):
            length = size - start - 4 - width if long is None else long
        end = start + 4 + width + length
        yield header[:4], start + 4 + width, end
        if aligned and length % 2:
            file.seek(end)
            end += not _ID.fullmatch(file.read(4))  # some programs do not add the byte that makes it even
        start = end


def _of_chunks(file: BinaryIO, chunks: Iterator[Chunk], size: int) -> str | None:
    """Return what is wrong with the chunk of the samples, or with what follows it: chunks, or nothing but zeros."""
    found = list(itertools.islice(chunks, 10_000))
    sound = next((chunk for chunk in found if chunk[0] in _SOUND), None)
    if sound is None:
        return None  # libsndfile says what is wrong
    if sound[2] > size + _SLACK:
        return _cut_off(sound[2], size)
    name, _, last = found[-1]
    if last > size + _SLACK:  # what seems to be a chunk after the samples is cut off, or none
        return None if name in _METADATA else _more(sound[2], size)
    file.seek(last)
    rest = iter(lambda: file.read(2**20), b"")
    return _more(sound[2], size) if last < size - _SLACK and any(block.strip(b"\0") for block in rest) else None


def _of_voc(file: BinaryIO, size: int, start: int) -> str | None:
    """Follow the blocks of a VOC file to its terminator."""
    while start < size:
        file.seek(start)
        header = file.read(4)
        if header[:1] == b"\0":
            return None
        start += 4 + int.from_bytes(header[1:], "little")
    return _cut_off(start, size)


def _of_sample_dump(head: bytes, size: int, frames: int) -> str | None:
    """Compare with the number of packets of a MIDI sample dump, each of which has 120 bytes of samples."""
    bytes_per_sample = -(-head[6] // 7)
    frames_per_packet = 120 // max(1, bytes_per_sample)
    return _of_length(21 + -(-frames // frames_per_packet) * _PACKET, size)


def _of_ogg(file: BinaryIO, size: int) -> str | None:
    """Check that the last page is marked as the stream's end."""
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    page = tail.rfind(b"OggS")
    ended = page >= 0 and len(tail) > page + 5 and tail[page + 5] & 4
    return None if ended else "cut off; its last page is not marked as the end"


def _of_mp3(head: bytes, size: int, _: int) -> str | None:
    """Compare with the number of bytes that encoders write into the first frame."""
    found = _XING.search(head)
    if found is None or not head[found.end() + 3 : found.end() + 4] or not head[found.end() + 3] & 2:
        return None
    place = found.end() + 4 + 4 * (head[found.end() + 3] & 1)
    claimed = int.from_bytes(head[place : place + 4], "big")
    return _cut_off(claimed, size, slack=0)


def _of_w64(head: bytes, size: int, _: int) -> str | None:
    return _cut_off(int.from_bytes(head[16:24], "little"), size)


def _of_au(head: bytes, size: int, _: int) -> str | None:
    order: Order = "little" if head[:4] == b"dns." else "big"
    start, length = int.from_bytes(head[4:8], order), int.from_bytes(head[8:12], order)
    return None if length == 0xFFFFFFFF else _of_length(start + length, size)


def _of_frames(claimed: int, frames: int) -> str | None:
    """Compare with the number of frames in a header, of a container that libsndfile reads to its end."""
    if frames + 1 < claimed < _UNKNOWN:
        return f"cut off; its header says {claimed} frames, it has {frames}"
    return None


def _of_nist(head: bytes, _: int, frames: int) -> str | None:
    count = re.search(rb"sample_count -i (\d{1,18})", head)
    return None if count is None else _of_frames(int(count[1]), frames)


_CHUNKS: dict[str, Callable[[BinaryIO, int], Iterator[Chunk]]] = {
    "WAV": _riff,
    "WAVEX": _riff,
    "RF64": _riff,
    "AIFF": lambda file, size: _chunks(file, size, 12, 4, "big"),
    "SVX": lambda file, size: _chunks(file, size, 12, 4, "big"),
    "CAF": lambda file, size: _chunks(file, size, 8, 8, "big"),
}
_HEADERS: dict[str, Callable[[bytes, int, int], str | None]] = {
    "AU": _of_au,
    "AVR": lambda head, _, frames: _of_frames(int.from_bytes(head[26:30], "big"), frames),
    "MP3": _of_mp3,
    "MPC2K": lambda head, _, frames: _of_frames(int.from_bytes(head[30:34], "little"), frames),
    "NIST": _of_nist,
    "SDS": _of_sample_dump,
    "W64": _of_w64,
    "WVE": lambda head, _, frames: _of_frames(int.from_bytes(head[18:22], "big"), frames),
}
