"""Any folder of audio."""

import os
from pathlib import Path

from wavenet.data.dataset import AUDIO_SUFFIXES, DatasetError, Scan, Utterance


class Folder:
    """All audio files below a folder, in any format that soundfile reads.

    Args:
        root: The folder.
        speakers_from_folders: If True, the first folder below root names the speaker of all the
            files in it; if False, everything is one speaker, named after root.

    Raises:
        DatasetError: If root is not given or not a folder.
    """

    name = "folder"

    def __init__(self, root: str | os.PathLike[str] | None = None, speakers_from_folders: bool = False) -> None:
        if root is None:
            raise DatasetError("dataset=folder needs the folder: dataset.root=PATH")
        self.root = Path(root)
        self.speakers_from_folders = speakers_from_folders
        if not self.root.is_dir():
            raise DatasetError(f"{self.root}: no such folder; give dataset.root=PATH")

    def scan(self) -> Scan:
        """Find the files.

        Raises:
            DatasetError: If there are none, or a file lies outside the speakers' folders.
        """
        utterances = []
        for folder, folders, files in os.walk(self.root):  # does not follow links, so it cannot loop
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in sorted(files):
                path = Path(folder) / file
                if path.suffix.lower() in AUDIO_SUFFIXES and not file.startswith("."):
                    utterances.append(self._utterance(path))
        if not utterances:
            raise DatasetError(f"{self.root}: no audio files below it (looked for .wav, .flac, .ogg, .mp3 and others)")
        return Scan(utterances)

    def _utterance(self, path: Path) -> Utterance:
        relative = path.relative_to(self.root)
        speaker = self.root.resolve().name or "root"
        if self.speakers_from_folders:
            if len(relative.parts) < 2:
                raise DatasetError(
                    f"{path}: lies in no speaker's folder; move it, or dataset.speakers_from_folders=false"
                )
            speaker = relative.parts[0]
        return Utterance(relative.as_posix(), path, {"speaker": speaker})
