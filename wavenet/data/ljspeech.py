"""LJ Speech 1.1 (Ito and Johnson, 2017): 24 hours of one voice at 22.05 kHz, public domain."""

import os
from pathlib import Path

import torchaudio

from wavenet.data.dataset import DatasetError, Scan, Utterance, audio_files, download
from wavenet.data.origin import Licence, Origin

_ORIGIN = Origin(
    (Licence("public domain", "The LJ Speech Dataset, K. Ito and L. Johnson, 2017, keithito.com/LJ-Speech-Dataset"),),
    "keithito/lj_speech",
)


class LJSpeech:
    """The LJ Speech corpus.

    Args:
        root: The folder that contains LJSpeech-1.1, or LJSpeech-1.1 itself.
        download: Download it (2.6 GB) into root first, through torchaudio, which verifies the checksum.
    """

    name = "ljspeech"

    def __init__(self, root: str | os.PathLike[str] = "data", download: bool = False) -> None:
        self.root = Path(root)
        self.download = download

    def scan(self) -> Scan:
        """Find the recordings.

        Raises:
            DatasetError: If the corpus is missing.
        """
        for folder in (self.root, self.root / "LJSpeech-1.1"):
            if (folder / "wavs").is_dir():
                files = audio_files(folder / "wavs")
                return Scan([Utterance(path.stem, path, {"speaker": "LJ"}) for path in files], origin=_ORIGIN)
        if self.download:
            download(torchaudio.datasets.LJSPEECH, self.root)
            return LJSpeech(self.root).scan()
        raise DatasetError(
            f"{self.root}: no LJSpeech-1.1 there. Download it (2.6 GB) with "
            f"'python scripts/train.py dataset=ljspeech dataset.root={self.root} dataset.download=true', "
            "or give dataset.root=PATH"
        )
