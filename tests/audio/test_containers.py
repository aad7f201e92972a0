"""Files whose headers say more or less than there is: all of the sound is read, or the file is named."""

import numpy as np
import pytest
import soundfile

from tests.reliability.mutants import encoded
from wavenet.audio import AudioError, read

FRAMES = 16000
NOT_TESTED = {"RAW", "MAT4", "MAT5", "SD2", "XI", "HTK"}  # no recordings, or not read from a stream by libsndfile
CONTAINERS = sorted(set(soundfile.available_formats()) - NOT_TESTED)
COMPRESSED = {"FLAC", "OGG", "MP3"}
NO_LENGTH = {"PAF", "PVF", "IRCAM"}  # in their headers


def sound(container, frames=FRAMES):
    return encoded(0.3 * np.sin(np.arange(frames) * 0.1), 16000, container.lower())


def frames_or_reason(path, data):
    path.write_bytes(data)
    try:
        return len(read(path)[0])
    except AudioError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return str(error).removeprefix(f"{path}: ")


@pytest.mark.parametrize("container", CONTAINERS)
def test_whole_files_are_read(tmp_path, container):
    frames = frames_or_reason(tmp_path / "x", sound(container))
    assert frames == FRAMES or (container == "SDS" and FRAMES <= frames < FRAMES + 40)


@pytest.mark.parametrize("part", [0.31, 0.5, 0.99])
@pytest.mark.parametrize("container", sorted(set(CONTAINERS) - NO_LENGTH))
def test_files_that_were_cut_off_are_named(tmp_path, container, part):
    data = sound(container)
    reason = frames_or_reason(tmp_path / "x", data[: int(len(data) * part)])
    assert isinstance(reason, str), f"{reason} of {FRAMES} samples"


def with_header_of(container, frames):
    """Return a file that holds FRAMES frames, whose header is that of another number of frames."""
    data, other, third = (sound(container, count) for count in (FRAMES, frames, FRAMES + 12345))
    begins = len(other) - frames * (1 if container == "WVE" else 2)
    if container == "CAF":
        begins = 4096
    changed = [i for i in range(begins) if len({data[i], other[i], third[i]}) > 1]
    last = max(changed, default=-1) + 1
    return other[:last] + data[last:]


PLAIN = sorted(set(CONTAINERS) - COMPRESSED - NO_LENGTH)


@pytest.mark.parametrize("container", PLAIN)
@pytest.mark.parametrize("frames", [10, 1000, 15000])
def test_headers_that_say_less_than_there_is(tmp_path, container, frames):
    result = frames_or_reason(tmp_path / "x", with_header_of(container, frames))
    assert result == FRAMES or isinstance(result, str), f"{result} of {FRAMES} samples"


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF"])
@pytest.mark.parametrize(
    "tail",
    [
        bytes(3000),
        b"LIST" + (4).to_bytes(4, "little") + b"INFO",
        b"LIST" + (4000).to_bytes(4, "little") + b"INFO" + b"cut off" * 20,
        b"TAGTitle" + b"x" * 120,
    ],
)
def test_what_may_follow_the_sound(tmp_path, container, tail):
    if container == "AIFF":
        tail = tail[:4] + tail[4:8][::-1] + tail[8:] if tail[:4] == b"LIST" else tail
    assert frames_or_reason(tmp_path / "x", sound(container) + tail) == FRAMES


@pytest.mark.parametrize("size", [0, 36, 2**31, 2**32 - 1])
def test_a_wrong_length_of_the_whole_file_does_not_matter(tmp_path, size):
    data = sound("WAV")
    assert frames_or_reason(tmp_path / "x", data[:4] + size.to_bytes(4, "little") + data[8:]) == FRAMES


@pytest.mark.parametrize("size", [0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_stream_of_unknown_length_is_read_to_its_end(tmp_path, size):
    data = sound("WAV")
    assert frames_or_reason(tmp_path / "x", data[:40] + size.to_bytes(4, "little") + data[44:]) == FRAMES
    data = sound("AU")
    assert frames_or_reason(tmp_path / "x", data[:8] + b"\xff" * 4 + data[12:]) == FRAMES


def test_a_crashed_recorders_header_is_not_an_empty_file(tmp_path):
    data = sound("WAV")
    reason = frames_or_reason(tmp_path / "x", data[:40] + bytes(4) + data[44:])
    assert reason.startswith("its header says that the sound ends after 44 bytes, and the file has 32044")
