"""Damaged recordings: short clips of real speech in many encodings, each broken in one way."""

import io
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from tests.conftest import PROMPTS
from wavenet.audio import read, resample

SECONDS = (0.2, 0.4)  # a clip's length, at least and at most
ENCODINGS = [
    *(("wav", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("flac", kind) for kind in ("PCM_S8", "PCM_16", "PCM_24")),
    ("ogg", "VORBIS"),
]
RATES = (0, 1, 8, 999, 1000, 7919, 11025, 16001, 44101, 192000, 999_983, 10**6, 2 * 10**9, 10**10)
CHANNELS = (0, 2, 3, 6, 8, 64, 65, 255, 500, 1024, 1025, 65535)
LENGTHS = (0, 1, 3, 100, 10**6, 2**31 - 1, 2**32 - 1, 2**36 - 1)
NAMES = [  # as bytes, for a name need not be Unicode
    *(
        text.encode()
        for text in ("Zoë", "名前\u3000", "two\nlines", "-rf", " ", "a: b", '"quoted", with a comma', "%s{}", "🎙")
    ),
    *(b"\xff\xfe", b"caf\xe9", b"\x01\x1b[31m", b"tab\tand\rreturn", b"$(true)", b"x" * 300),
    "é".encode() * 300,
]

Clip = tuple[str, bytes]  # ending, and what the file holds


def clips(seed: int, count: int = 60) -> list[Clip]:
    """Undamaged clips: every encoding, three rates, one or two channels, any length."""
    rng = random.Random(seed)
    sources = sorted(PROMPTS.glob("*/*.flac"))
    made = []
    for number in range(count):
        speech, rate = read(rng.choice(sources))
        frames = round(rng.uniform(*SECONDS) * rate)
        start = int(speech.square().unfold(0, frames, frames // 2).mean(dim=1).argmax()) * (frames // 2)
        wanted = (16000, 22050, 48000)[number % 3]
        clip = resample(speech[start : start + frames], rate, wanted)
        samples = (torch.stack([clip, clip / 2], dim=1) if number % 4 == 3 else clip).numpy()
        ending, subtype = ENCODINGS[number % len(ENCODINGS)]
        made.append((ending, encoded(samples, wanted, ending, subtype)))
    return made


def encoded(samples: np.ndarray, rate: int, ending: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=ending.upper(), subtype=subtype)
    return checked(file.getvalue(), serial=bytes(4)) if ending == "ogg" else file.getvalue()


def truncated(rng: random.Random, clip: Clip) -> bytes:
    return clip[1][: rng.randrange(len(clip[1]))]


def flipped(rng: random.Random, clip: Clip, end: int | None = None) -> bytes:
    data = bytearray(clip[1])
    for _ in range(2 ** rng.randrange(7)):
        data[rng.randrange(min(end or len(data), len(data)))] ^= 1 << rng.randrange(8)
    return checked(data) if clip[0] == "ogg" and rng.random() < 0.5 else bytes(data)


def header_flipped(rng: random.Random, clip: Clip) -> bytes:
    return flipped(rng, clip, 64)


def overwritten(rng: random.Random, clip: Clip) -> bytes:
    data = bytearray(clip[1])
    start, length = rng.randrange(len(data)), 2 ** rng.randrange(12)
    data[start : start + length] = rng.choice([rng.randbytes(length), bytes(length), b"\xff" * length])
    return bytes(data)


def shifted(rng: random.Random, clip: Clip) -> bytes:
    """Some bytes are missing, or there twice."""
    first, second = rng.randrange(len(clip[1])), rng.randrange(len(clip[1]))
    return clip[1][:first] + clip[1][second:]


def lying_rate(rng: random.Random, clip: Clip) -> bytes:
    return patched(clip, rate=rng.choice([*RATES, rng.randrange(2**20)]))


def lying_channels(rng: random.Random, clip: Clip) -> bytes:
    return patched(clip, channels=rng.choice(CHANNELS))


def lying_length(rng: random.Random, clip: Clip) -> bytes:
    return patched(clip, length=rng.choice(LENGTHS))


def lying_bits(rng: random.Random, clip: Clip) -> bytes:
    return patched(clip, bits=rng.choice([0, 1, 4, 7, 8, 12, 16, 20, 24, 32, 33, 64, 255]))


def patched(
    clip: Clip, rate: int | None = None, channels: int | None = None, length: int | None = None, bits: int | None = None
) -> bytes:
    """A header that says something else; the samples stay."""
    ending, data = clip[0], bytearray(clip[1])
    if ending == "wav":
        form, body = data.index(b"fmt ") + 8, data.index(b"data") + 4
        for place, value, size in (
            (form + 4, rate, 4),
            (form + 2, channels, 2),
            (body, length, 4),
            (form + 14, bits, 2),
        ):
            if value is not None:
                data[place : place + size] = (value % 256**size).to_bytes(size, "little")
    elif ending == "flac":  # 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of length
        word = int.from_bytes(data[18:26], "big")
        for shift, width, value in ((44, 20, rate), (41, 3, channels), (36, 5, bits), (0, 36, length)):
            if value is not None:
                mask = (1 << width) - 1
                word = word & ~(mask << shift) | (value & mask) << shift
        data[18:26] = word.to_bytes(8, "big")
    else:
        if channels is not None:
            data[39] = channels % 256
        if rate is not None:
            data[40:44] = struct.pack("<I", rate % 2**32)
        if length is not None:
            last = data.rindex(b"OggS")
            data[last + 6 : last + 14] = struct.pack("<Q", length)
        if bits is not None:
            data[56] = bits  # the sizes of the two windows
        data = bytearray(checked(data))
    return bytes(data)


def checked(data: bytes | bytearray, serial: bytes | None = None) -> bytes:
    """An Ogg file whose checksums are right, so that a decoder believes what it says; its serial number is random."""
    data, start = bytearray(data), data.find(b"OggS")
    while start >= 0:
        end = data.find(b"OggS", start + 4)
        data[start + 14 : start + 18] = serial or data[start + 14 : start + 18]
        data[start + 22 : start + 26] = bytes(4)
        crc = 0
        for byte in data[start : end if end >= 0 else len(data)]:
            crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
        data[start + 22 : start + 26] = struct.pack("<I", crc)
        start = end
    return bytes(data)


def _crc_entry(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1) ^ (0x104C11DB7 if crc >> 31 else 0)
    return crc


_CRC = [_crc_entry(byte) for byte in range(256)]


def few_samples(rng: random.Random, clip: Clip) -> bytes:
    ending, subtype = rng.choice(ENCODINGS)
    return encoded(np.full(rng.randrange(4), 0.3), 16000, ending, subtype)


def no_numbers(rng: random.Random, clip: Clip) -> bytes:
    samples = np.frombuffer(rng.randbytes(4000), np.uint8) / 256 - 0.5
    samples[rng.randrange(4000)] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 3.0, -1.2])
    return encoded(samples, 16000, "wav", rng.choice(["FLOAT", "DOUBLE"]))


def no_sound(rng: random.Random, clip: Clip) -> bytes:
    ending, subtype = rng.choice(ENCODINGS)
    return encoded(np.full(4800, rng.choice([0.0, 0.3, -1.0, 1e-4])), 16000, ending, subtype)


def many_channels(rng: random.Random, clip: Clip) -> bytes:
    count = rng.choice([8, 64, 65, 500, 1024])
    return encoded(np.tile(np.sin(np.arange(4800))[:, None] / 2, count), 16000, "wav")


def not_audio(rng: random.Random, clip: Clip) -> bytes:
    return rng.choice([b"", b"\0" * 5000, rng.randbytes(5000), b"RIFF", b"fLaC", b"OggS", b"Not found.\n" * 50])


CONTENTS: list[Callable[[random.Random, Clip], bytes]] = [
    truncated,
    flipped,
    header_flipped,
    overwritten,
    shifted,
    lying_rate,
    lying_channels,
    lying_length,
    lying_bits,
    few_samples,
    no_numbers,
    no_sound,
    many_channels,
    not_audio,
]
PLACES = ["odd_name", "no_file"]


def make(root: Path, number: int, kind: str, rng: random.Random, clip: Clip) -> str | None:
    """Put one mutant below a folder.

    Returns:
        The id by which it must be used or skipped; None if there is nothing that anyone could miss.
    """
    ending, data = clip
    path = root / f"{number:05d}.{ending}"
    if kind == "odd_name":
        folder = root / str(number)
        folder.mkdir()
        end = f".{rng.choice([ending, ending.upper(), 'wav', 'aiff'])}".encode()
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), rng.choice(NAMES)[: 255 - len(end)] + end)))
        path.write_bytes(data)
    elif kind == "no_file":
        return _no_file(path, rng, data)
    else:
        path.write_bytes(next(change for change in CONTENTS if change.__name__ == kind)(rng, clip))
    return path.relative_to(root).as_posix()


def _no_file(path: Path, rng: random.Random, data: bytes) -> str | None:
    what = rng.choice(["folder", "pipe", "loop", "broken link", "link", "link to a folder", "long circle"])
    if what == "folder":
        path.mkdir()
        (path / "inside.wav").write_bytes(data)
        return f"{path.name}/inside.wav"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "long circle":
        path.symlink_to(path.with_suffix(".circle"))
        path.with_suffix(".circle").symlink_to(path)
    elif what == "link":
        hidden = path.with_name(f".{path.name}")
        hidden.write_bytes(data)
        path.symlink_to(hidden)
    else:
        path.symlink_to({"loop": path, "broken link": path / "nowhere", "link to a folder": path.parent}[what])
    return path.name
