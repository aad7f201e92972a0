"""Recordings in which every sample is different, and features of them."""

from dataclasses import dataclass

import numpy as np
import soundfile
import torch
import torch.nn.functional as F

from wavenet.audio import Features
from wavenet.data import Corpus
from wavenet.data.corpus import Prepared

LENGTHS = (50, 300, 1000)


def ramps(folder, lengths=LENGTHS):
    """Return a corpus in which a sample's value identifies its utterance and its position."""
    utterances = []
    for number, length in enumerate(lengths):
        path = folder / f"{number}.wav"
        samples = (np.arange(length) + 1 + 2000 * number) / 32768
        soundfile.write(path, samples, 1000, subtype="PCM_16")
        utterances.append(Prepared(str(number), path, path, length, length / 1000, {"speaker": str(number)}))
    return Corpus("ramps", 1000, utterances, [])


@dataclass(frozen=True)
class Blocks(Features):
    """Features: a frame's first and last sample, zeros after the end, which identify the frame."""

    name: str = "blocks"
    hop_length: int = 20
    scale: float = 1.0

    num_channels = 2

    def extract(self, waveform, recording=None):
        padded = F.pad(waveform, (0, -len(waveform) % self.hop_length)) * self.scale
        return torch.stack([padded[:: self.hop_length], padded[self.hop_length - 1 :: self.hop_length]])
