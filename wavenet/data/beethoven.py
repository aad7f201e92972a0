"""Beethoven's piano sonatas in clips of 8 seconds at 16 kHz (Mehri et al., 2017), as the SaShiMi paper uses them."""

import re
from pathlib import Path

from wavenet.data.dataset import DatasetError, Scan, Skipped, Utterance, audio_files
from wavenet.data.origin import UNKNOWN, Licence, Origin
from wavenet.data.published_split import PublishedClips

_NUMBERS = {"training": range(3808), "validation": range(3808, 4068), "test": range(4068, 4328)}
_PAGE = "huggingface.co/datasets/krandiash/beethoven"
_ORIGIN = Origin(
    (Licence(UNKNOWN, f"Beethoven Sonatas Dataset, {_PAGE}, which states no licence; of S. Mehri et al., 2017"),),
    "krandiash/beethoven",
)


class Beethoven(PublishedClips):
    """The clips 0.wav to 4327.wav of beethoven.zip.

    Its page, huggingface.co/datasets/krandiash/beethoven, states the split: 0 to 3807 for training, 3808 to 4067 for
    validation, 4068 to 4327 for testing. There is no download here, because no checksum is published: unzip
    beethoven.zip from that page into root.

    Args:
        root: The folder that contains the folder "beethoven", or the folder of the clips itself.
        held_out: The list to validate on: "validation" or "test"; the clips of the other one are left out.
        stretch: Whether each clip is scaled so that its range is -1 to 1, as for the published figures.

    Raises:
        DatasetError: If held_out is something else.
    """

    name = "beethoven"

    def scan(self) -> Scan:
        """Find the clips.

        Raises:
            DatasetError: If there are none.
        """
        for folder in (self.root / "beethoven", self.root):
            clips = audio_files(folder) if folder.is_dir() else []
            if any(_number(path) is not None for path in clips):
                return self._scan(clips)
        raise DatasetError(
            f"{self.root}: no beethoven/0.wav and so on there. Unzip beethoven.zip from {_PAGE} into it, "
            "or give dataset.root=PATH"
        )

    def _scan(self, clips: list[Path]) -> Scan:
        utterances: list[Utterance] = []
        skipped: list[Skipped] = []
        for path in clips:
            number = _number(path)
            if number is None:
                skipped.append(Skipped(path.name, "is not one of 0.wav to 4327.wav, and so in no published list"))
            elif number in _NUMBERS["training"] or number in _NUMBERS[self.held_out]:
                held_out = number in _NUMBERS[self.held_out]
                utterances.append(Utterance(path.stem, path, {"speaker": "piano"}, held_out, self.stretch))
        return Scan(utterances, skipped, _ORIGIN)


def _number(path: Path) -> int | None:
    """Return a clip's number; None if the file is not one of the published clips."""
    number = int(path.stem) if re.fullmatch(r"0|[1-9]\d{0,3}", path.stem) else -1
    return number if any(number in numbers for numbers in _NUMBERS.values()) else None
