"""Features of a recording, frame by frame, that a model can be conditioned on."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wavenet.audio.files import AudioError
from wavenet.bounds import Channels, HopLength, checked


class Features(ABC):
    """Features of a recording in frames: frame f describes the samples [f * hop_length, (f + 1) * hop_length).

    Implementations are frozen dataclasses; the features depend on the recording and the dataclass's fields only.

    Attributes:
        name: Name of the condition, such as "mel".
        hop_length: Samples per frame.
        num_channels: Channels of a frame.
        reads_files: Whether they are read from a file beside the recording instead of computed from its waveform.
    """

    name: str
    hop_length: int
    num_channels: int
    reads_files: bool = False

    def num_frames(self, num_samples: int) -> int:
        """Return the number of frames of num_samples samples; the last one may reach beyond them."""
        return -(-num_samples // self.hop_length)

    @abstractmethod
    def extract(self, waveform: Tensor, recording: Path | None = None) -> Tensor:
        """Return the features of a whole recording.

        Args:
            waveform: (T,) samples in [-1, 1] at the model's rate, on the CPU.
            recording: The recording's original file.

        Returns:
            (num_channels, num_frames(T)), float32.

        Raises:
            AudioError: If a required file is missing or does not fit; names it.
        """


@checked
@dataclass(frozen=True)
class FileFeatures(Features):
    """Features computed by another program, in a `.npy` file beside each recording.

    The file is `<recording's stem>.<name>.npy` or, if there is none, `<recording's stem>.npy`; see
    `read_frames` for its content.

    Args:
        name: Name of the condition, such as "linguistic".
        num_channels: Channels of a frame.
        hop_length: Samples per frame, at the model's rate.

    Raises:
        ValueError: If num_channels or hop_length is out of range.
    """

    name: str
    num_channels: Channels
    hop_length: HopLength

    reads_files = True

    def file_of(self, recording: Path) -> Path:
        """Return the features file of a recording.

        Raises:
            AudioError: If there is none; names both candidates.
        """
        named, plain = (recording.with_name(f"{recording.stem}{end}") for end in (f".{self.name}.npy", ".npy"))
        for path in (named, plain):
            if path.is_file():
                return path
        raise AudioError(f"{named}: no such file with the features '{self.name}', and no {plain} either")

    def extract(self, waveform: Tensor, recording: Path | None = None) -> Tensor:
        """Read the file; the waveform is not used.

        Returns:
            (num_channels, F), float32. F is the file's number of frames: other programs end a frame earlier
            or later, and the caller that aligns the frames with the waveform decides how much is acceptable.

        Raises:
            AudioError: If the recording or its file is missing, or the file does not fit.
        """
        if recording is None:
            raise AudioError(
                f"the features '{self.name}' are read from a file beside the recording; give the recording"
            )
        return read_frames(self.file_of(recording), self.num_channels)


def read_frames(path: Path, num_channels: int) -> Tensor:
    """Read features from a `.npy` file.

    Args:
        path: The file; an array of numbers (num_channels, F) or (1, num_channels, F).
        num_channels: Expected number of channels.

    Returns:
        (num_channels, F), float32.

    Raises:
        AudioError: If the file is missing, damaged, of another shape, or contains NaN or infinity.
    """
    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise AudioError(f"{path}: not readable ({error})") from error
    except MemoryError as error:
        raise AudioError(f"{path}: claims more numbers than fit into memory; write the file again") from error
    except (ValueError, EOFError) as error:
        raise AudioError(f"{path}: not readable as a .npy file of numbers, as written by numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise AudioError(f"{path}: does not contain one array of numbers")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.shape[0] != num_channels or array.shape[1] == 0:
        hint = "; transpose it" if array.ndim == 2 and array.shape[1] == num_channels else ""
        raise AudioError(f"{path}: the array is {array.shape}; it must be ({num_channels}, frames){hint}")
    frames = torch.from_numpy(array.astype(np.float32))
    if not bool(frames.isfinite().all()):
        raise AudioError(f"{path}: holds NaN or infinite numbers")
    return frames
