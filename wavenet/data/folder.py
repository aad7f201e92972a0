"""Dataset of the audio files in any folder."""

import os
from pathlib import Path

from wavenet.audio import looks_like_audio
from wavenet.data.dataset import DatasetError, Scan, Skipped, Utterance, why_missing
from wavenet.data.index_csv import INDEX, read_index
from wavenet.data.origin import UNKNOWN, Licence, Origin, each_once
from wavenet.names import normalise


class Folder:
    """All audio files below a folder, in any format that `wavenet.audio.read` reads.

    A table `index.csv` in the folder may give their conditions: its column `file` contains their paths,
    relative to the folder, and every other column is a named condition, such as a language or an
    instrument. A column `speaker` takes precedence over the folders' names. Files that the table does not
    list are skipped, and so are lines whose file is missing. Links to files are followed; links to folders
    are not, because they may be circular.

    The columns `licence` (or `license`) and `attribution` go to the card of a model trained on the folder; the settings
    of these names are used for recordings without them.

    Args:
        root: The folder.
        speakers_from_folders: If True, the first folder below root names the speaker of all the
            files in it; if False, all files are of one speaker, named after root.
        licence: The recordings' licence, such as "CC-BY-4.0"; None if it is unknown.
        attribution: The attribution that the licence requires.

    Raises:
        DatasetError: If root is not given or not a folder.
    """

    name = "folder"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        speakers_from_folders: bool = False,
        licence: str | None = None,
        attribution: str | None = None,
    ) -> None:
        if root is None:
            raise DatasetError("dataset=folder needs the folder: dataset.root=PATH")
        self.root = Path(root)
        self.speakers_from_folders = speakers_from_folders
        self.licence, self.attribution = licence, attribution
        if not self.root.is_dir():
            raise DatasetError(f"{self.root}: no such folder; give dataset.root=PATH")

    def scan(self) -> Scan:
        """Find the files.

        Raises:
            DatasetError: If there are none, a file lies outside the speakers' folders, or index.csv
                is malformed.
        """
        paths, skipped = self._audio_files()
        index = self.root / INDEX
        if index.is_file():
            return self._scan_index(index, paths, skipped)
        if not paths:
            reasons = f"; {'; '.join(str(s) for s in skipped[:3])}" if skipped else ""
            raise DatasetError(
                f"{self.root}: no audio files below it (looked for .wav, .flac, .ogg, .mp3 and others{reasons})"
            )
        origin = Origin(each_once([self._licence({})]))
        return Scan([self._utterance(path, {}) for path in paths], skipped, origin)

    def _scan_index(self, index: Path, paths: list[Path], skipped: list[Skipped]) -> Scan:
        on_disk = {normalise(name): name for name in (path.relative_to(self.root).as_posix() for path in paths)}
        rows = read_index(index)
        missing = {name: why_missing(self.root / name) for name in rows}
        table = {
            name if missing[name] is None else on_disk.get(normalise(name), name): conditions
            for name, conditions in rows.items()
        }
        utterances, licences = [], []
        for name, conditions in table.items():
            reason = missing[name] if name in missing else why_missing(self.root / name)
            if reason is None:
                utterances.append(self._utterance(self.root / name, conditions))
                licences.append(self._licence(conditions))
            else:
                skipped.append(Skipped(name, f"is in {INDEX}, but {reason}"))
        for name in (path.relative_to(self.root).as_posix() for path in paths):
            if name not in table:
                skipped.append(Skipped(name, f"is not in {INDEX}; add it, or remove the table"))
        if not utterances:
            raise DatasetError(
                f"{index}: none of the {len(table)} files that it lists exists; paths are relative to its folder"
            )
        return Scan(utterances, skipped, Origin(each_once(licences)))

    def _licence(self, columns: dict[str, str]) -> Licence:
        """Return a recording's licence, from its columns or else from the settings."""
        name = columns.get("licence", columns.get("license", self.licence))
        return Licence(name or UNKNOWN, columns.get("attribution", self.attribution) or "")

    def _audio_files(self) -> tuple[list[Path], list[Skipped]]:
        paths, skipped = [], []

        def skip(path: Path, reason: str) -> None:
            skipped.append(Skipped(path.relative_to(self.root).as_posix(), reason))

        def unreadable(error: OSError) -> None:
            skip(Path(error.filename), f"the folder cannot be read ({error.strerror})")

        for folder, folders, files in os.walk(self.root, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for path in (Path(folder) / name for name in folders):
                if path.is_symlink():
                    skip(path, "a link to a folder, which is not followed; move the folder here")
            for file in sorted(files):
                path = Path(folder) / file
                if looks_like_audio(path):
                    paths.append(path)
        return paths, skipped

    def _utterance(self, path: Path, conditions: dict[str, str]) -> Utterance:
        relative = path.relative_to(self.root)
        speaker = self.root.resolve().name or "root"
        if self.speakers_from_folders and "speaker" not in conditions:
            if len(relative.parts) < 2:
                raise DatasetError(
                    f"{path}: is not in a speaker's folder; move it, or set dataset.speakers_from_folders=false"
                )
            speaker = relative.parts[0]
        return Utterance(relative.as_posix(), path, {"speaker": speaker} | conditions)
