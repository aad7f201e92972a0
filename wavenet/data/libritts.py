"""LibriTTS (Zen et al., 2019): 585 hours of read English by 2456 speakers at 24 kHz, CC-BY-4.0."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import torchaudio

from wavenet.data.dataset import DatasetError, Scan, Utterance, audio_files, download, sub_folders
from wavenet.data.origin import Licence, Origin

SUBSETS = (
    "train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other", "test-clean", "test-other",
)  # fmt: skip
_ORIGIN = Origin(
    (
        Licence(
            "CC-BY-4.0",
            "LibriTTS, H. Zen, V. Dang, R. Clark, Y. Zhang, R. J. Weiss, Y. Jia, Z. Chen and Y. Wu, Google, 2019, "
            "openslr.org/60",
        ),
    )
)


class LibriTTS:
    """Subsets of LibriTTS, in its layout LibriTTS/SUBSET/SPEAKER/CHAPTER/*.wav.

    A speaker is in one subset only. So a model that is conditioned on the speaker cannot be validated on another
    subset than those it learns from; for such a model, held_out_subsets=[] holds out utterances of every speaker.

    Args:
        root: The folder that contains LibriTTS, or LibriTTS itself.
        subsets: The subsets to train on.
        held_out_subsets: The subsets to validate on; if there are none, `validation_fraction` of each speaker's
            utterances is held out.
        download: Download those that are missing (train-clean-100 has 7.7 GB, dev-clean 1.2 GB) into root first,
            through torchaudio, which verifies the checksums.

    Raises:
        DatasetError: If a subset is unknown or named twice, or none is named.
    """

    name = "libritts"

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        subsets: Sequence[str] = ("train-clean-100",),
        held_out_subsets: Sequence[str] = ("dev-clean",),
        download: bool = False,
    ) -> None:
        named = [*subsets, *held_out_subsets]
        for subset in named:
            if subset not in SUBSETS:
                raise DatasetError(f"dataset.subsets: there is no '{subset}'; LibriTTS has {', '.join(SUBSETS)}")
            if named.count(subset) > 1:
                raise DatasetError(
                    f"dataset.subsets: '{subset}' is named twice in subsets and held_out_subsets; name it once"
                )
        if not named:
            raise DatasetError("dataset.subsets is []; name at least one, such as [train-clean-100]")
        self.root = Path(root)
        self.subsets, self.held_out_subsets = tuple(subsets), tuple(held_out_subsets)
        self.download = download

    def scan(self) -> Scan:
        """Find the recordings.

        Raises:
            DatasetError: If a subset is missing.
        """
        utterances: list[Utterance] = []
        for subset in (*self.subsets, *self.held_out_subsets):
            held_out = subset in self.held_out_subsets if self.held_out_subsets else None
            for speaker in sub_folders(self._folder(subset)):
                for chapter in sub_folders(speaker):
                    utterances += [
                        Utterance(f"{subset}/{path.stem}", path, {"speaker": speaker.name}, held_out)
                        for path in audio_files(chapter)
                    ]
        return Scan(utterances, origin=_ORIGIN)

    def _folder(self, subset: str) -> Path:
        candidates = (self.root / subset, self.root / "LibriTTS" / subset)
        found = next((folder for folder in candidates if folder.is_dir()), None)
        if found is None and self.download:
            download(functools.partial(torchaudio.datasets.LIBRITTS, url=subset), self.root)
            found = next((folder for folder in candidates if folder.is_dir()), None)
        if found is None:
            raise DatasetError(
                f"{self.root}: no LibriTTS/{subset} there. Download it with "
                f"'python scripts/train.py dataset=libritts dataset.root={self.root} dataset.download=true', "
                "or give dataset.root=PATH"
            )
        return found
