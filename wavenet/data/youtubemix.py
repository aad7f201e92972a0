"""YouTubeMix: four hours of piano music in clips of a minute at 16 kHz, as the SaShiMi paper uses them."""

import re
from pathlib import Path

from wavenet.data.dataset import DatasetError, Scan, Utterance, audio_files
from wavenet.data.origin import UNKNOWN, Licence, Origin
from wavenet.data.published_split import PublishedClips

_CLIPS = 241
_PLACES = {"validation": range(212, 226), "test": range(226, _CLIPS)}  # in the files' natural order
_PAGE = "huggingface.co/datasets/krandiash/youtubemix"
_ORIGIN = Origin(
    (
        Licence(
            UNKNOWN,
            f"YouTubeMix, {_PAGE}: the sound of youtube.com/watch?v=EhO_MrRfftU. Its publishers name no licence, and "
            "ask for academic and research use only",
        ),
    ),
    "krandiash/youtubemix",
)


class YouTubeMix(PublishedClips):
    """The 241 clips of youtubemix.zip.

    The split is that of github.com/state-spaces/s4 (configs/dataset/youtubemix.yaml; src/dataloaders/audio.py,
    `QuantizedAudioDataset`): in the natural order of the files' names, 0.88 of them for training, half of the rest for
    validation and the other half for testing, rounded down; of 241 clips the first 212, the next 14 and the last 15.
    There is no download here: the page huggingface.co/datasets/krandiash/youtubemix asks for an account and an
    agreement. Unzip youtubemix.zip from it into root.

    The published figures are of clips of 8.192 seconds, each of which is scaled by itself. Here the whole minute is
    scaled; `bits_per_byte` of `evaluate` scales those clips.

    Args:
        root: The folder that contains the folder "youtube_mix" or "youtubemix", or the folder of the clips itself.
        held_out: The list to validate on: "validation" or "test"; the clips of the other one are left out.
        stretch: Whether each recording is scaled so that its range is -1 to 1.

    Raises:
        DatasetError: If held_out is something else.
    """

    name = "youtubemix"

    def scan(self) -> Scan:
        """Find the clips.

        Raises:
            DatasetError: If there are none, or another number of them than the published split has.
        """
        for folder in (self.root / "youtube_mix", self.root / "youtubemix", self.root):
            clips = audio_files(folder) if folder.is_dir() else []
            if clips:
                return self._scan(folder, clips)
        raise DatasetError(
            f"{self.root}: no youtube_mix/*.wav there. Unzip youtubemix.zip from {_PAGE} into it, "
            "or give dataset.root=PATH"
        )

    def _scan(self, folder: Path, clips: list[Path]) -> Scan:
        if len(clips) != _CLIPS:
            raise DatasetError(
                f"{folder}: {len(clips)} recordings; the published split is of {_CLIPS}, in the order of their names. "
                "Unzip youtubemix.zip again, or use dataset=folder"
            )
        (left_out,) = (places for name, places in _PLACES.items() if name != self.held_out)
        utterances = [
            Utterance(path.stem, path, {"speaker": "piano"}, place in _PLACES[self.held_out], self.stretch)
            for place, path in enumerate(sorted(clips, key=_natural))
            if place not in left_out
        ]
        return Scan(utterances, origin=_ORIGIN)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts names with numbers by their numbers: out2.wav before out10.wav."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
