"""SC09: the ten digits of Speech Commands 0.02 (Warden, 2018), CC-BY-4.0, as the SaShiMi paper uses them."""

import os
from pathlib import Path

import torchaudio

from wavenet.data.dataset import DatasetError, Scan, Skipped, Utterance, audio_files, download
from wavenet.data.origin import Licence, Origin
from wavenet.data.published_split import PublishedClips

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_FOLDER = Path("SpeechCommands", "speech_commands_v0.02")  # as torchaudio extracts the archive
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_ORIGIN = Origin(
    (
        Licence(
            "CC-BY-4.0",
            "Speech Commands (version 0.02), P. Warden, Google, 2018, arxiv.org/abs/1804.03209",
        ),
    ),
    "google/speech_commands",
)


class SpeechCommands(PublishedClips):
    """SC09, one second of one spoken digit in each recording, at 16 kHz.

    The split is that of the corpus's own validation_list.txt and testing_list.txt, whose speakers are not in the
    training set: a recording in either list is never trained on. Each recording is scaled to full scale, and one
    shorter than a segment is padded, without a loss on the padding, as in github.com/state-spaces/s4,
    src/dataloaders/audio.py and datasets.py (Goel et al., 2022; Donahue et al., 2019, introduced SC09). Unlike there,
    recordings of silence are skipped and listed.

    The speaker is the part of a file's name before "_nohash_", and the digit is the condition "word".

    Args:
        root: The folder that contains SpeechCommands/speech_commands_v0.02, or the folder of the two lists itself.
        held_out: The list to validate on: "validation" or "test"; the recordings of the other one are left out.
        stretch: Whether each recording is scaled so that its range is -1 to 1, as for the published figures.
        download: Download the archive (2.3 GB) into root first, through torchaudio, which verifies the checksum.

    Raises:
        DatasetError: If held_out is something else.
    """

    name = "speechcommands"

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        held_out: str = "validation",
        stretch: bool = True,
        download: bool = False,
    ) -> None:
        super().__init__(root, held_out, stretch)
        self.download = download

    def scan(self) -> Scan:
        """Find the recordings of digits.

        Raises:
            DatasetError: If the corpus or one of its lists is missing.
        """
        for folder in (self.root, self.root / _FOLDER):
            if any((folder / name).is_dir() for name in DIGITS):
                return self._scan(folder)
        if self.download:
            download(torchaudio.datasets.SPEECHCOMMANDS, self.root)
            return SpeechCommands(self.root, self.held_out, self.stretch).scan()
        raise DatasetError(
            f"{self.root}: no {_FOLDER.as_posix()} there. Download it (2.3 GB) with "
            f"'python scripts/train.py dataset=speechcommands dataset.root={self.root} dataset.download=true', "
            "or give dataset.root=PATH"
        )

    def _scan(self, folder: Path) -> Scan:
        lists = {name: _read_list(folder / file) for name, file in _LISTS.items()}
        held_out = lists.pop(self.held_out)
        (left_out,) = lists.values()
        utterances: list[Utterance] = []
        for digit in DIGITS:
            for path in audio_files(folder / digit) if (folder / digit).is_dir() else ():
                listed = f"{digit}/{path.name}"
                if listed not in left_out:
                    conditions = {"speaker": path.stem.partition("_nohash_")[0], "word": digit}
                    found = Utterance(f"{digit}/{path.stem}", path, conditions, listed in held_out, self.stretch)
                    utterances.append(found)
        missing = sorted(held_out - {f"{u.conditions['word']}/{u.path.name}" for u in utterances})
        reason = f"is in {_LISTS[self.held_out]}, but there is no such file; extract the archive again"
        return Scan(utterances, [Skipped(name, reason) for name in missing], _ORIGIN)


def _read_list(path: Path) -> set[str]:
    """Return the recordings of digits in a list, such as "zero/004ae714_nohash_0.wav".

    Raises:
        DatasetError: If the list is missing, not text, or names no digit.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); extract the archive again") from error
    names = {line.strip() for line in lines}
    found = {name for name in names if name.partition("/")[0] in DIGITS}
    if not found:
        raise DatasetError(f"{path}: names no recording of a digit, one a line; extract the archive again")
    return found
