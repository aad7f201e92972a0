"""VCTK (Yamagishi et al., 2019): 110 English speakers, CC-BY-4.0; its version 0.80 of 2012 under ODC-By-1.0."""

import os
import re
from pathlib import Path

import torchaudio

from wavenet.data.dataset import DatasetError, Scan, Skipped, Utterance, audio_files, download, sub_folders
from wavenet.data.origin import Licence, Origin

_MICROPHONES = ("mic1", "mic2")
_0_92 = Origin(
    (
        Licence(
            "CC-BY-4.0",
            "CSTR VCTK Corpus (version 0.92), J. Yamagishi, C. Veaux and K. MacDonald, University of Edinburgh, "
            "The Centre for Speech Technology Research, 2019, doi.org/10.7488/ds/2645",
        ),
    ),
    "CSTR-Edinburgh/vctk",
)
_0_80 = Origin(
    (
        Licence(
            "ODC-By-1.0",
            "CSTR VCTK Corpus (version 0.80), J. Yamagishi, University of Edinburgh, "
            "The Centre for Speech Technology Research, 2012",
        ),
    )
)


class VCTK:
    """The VCTK corpus, version 0.92 (FLAC, two microphones) or 0.80 (wav48).

    Speakers are the folders' names, "p225" and so on, and "s5". In 0.92 a few recordings exist from
    one microphone only (all of p280's and p315's); those of the other microphone are skipped and listed,
    never mixed in. Training does not need texts, so p315, whose texts are lost, can be used.

    Args:
        root: The folder that contains VCTK-Corpus-0.92 or VCTK-Corpus, or one of these itself.
        mic: "mic1" (omni-directional) or "mic2" (the usual choice, as in torchaudio); 0.92 only.
        download: Download version 0.92 (11 GB) into root first, through torchaudio, which verifies the checksum.

    Raises:
        DatasetError: If mic is something else.
    """

    name = "vctk"

    def __init__(self, root: str | os.PathLike[str] = "data", mic: str = "mic2", download: bool = False) -> None:
        if mic not in _MICROPHONES:
            raise DatasetError(f"dataset.mic is '{mic}'; VCTK has {' and '.join(_MICROPHONES)}")
        self.root = Path(root)
        self.mic = mic
        self.download = download

    def scan(self) -> Scan:
        """Find the recordings.

        Raises:
            DatasetError: If the corpus is missing.
        """
        for folder in (self.root, self.root / "VCTK-Corpus-0.92", self.root / "VCTK-Corpus"):
            if (folder / "wav48_silence_trimmed").is_dir():
                return self._scan(folder, folder / "wav48_silence_trimmed", self.mic)
            if (folder / "wav48").is_dir():
                return self._scan(folder, folder / "wav48", None)
        if self.download:
            download(torchaudio.datasets.VCTK_092, self.root)
            return VCTK(self.root, self.mic).scan()
        raise DatasetError(
            f"{self.root}: no VCTK-Corpus-0.92 or VCTK-Corpus there. Download it (11 GB) with "
            f"'python scripts/train.py dataset=vctk dataset.root={self.root} dataset.download=true', "
            "or give dataset.root=PATH"
        )

    def _scan(self, corpus: Path, recordings: Path, mic: str | None) -> Scan:
        utterances: list[Utterance] = []
        skipped: list[Skipped] = []
        for folder in sub_folders(recordings):
            speaker = folder.name
            takes: dict[str, dict[str | None, Path]] = {}  # of each utterance, by microphone
            for path in audio_files(folder):
                match = re.fullmatch(r"(?P<name>.+?)(_(?P<mic>mic\d))?", path.stem)
                assert match is not None
                takes.setdefault(match["name"], {})[match["mic"]] = path
            for name, by_mic in takes.items():
                if mic in by_mic:
                    utterances.append(Utterance(f"{speaker}/{name}", by_mic[mic], {"speaker": speaker}))
                else:
                    hint = ", ".join(f"dataset.mic={other} has one" for other in by_mic if other)
                    reason = f"no recording of {mic}; {hint or 'its file name has no microphone'}"
                    skipped.append(Skipped(f"{speaker}/{name}", reason))
            texts = {path.stem for path in (corpus / "txt" / speaker).glob("[!.]*.txt")}
            for name in sorted(texts - takes.keys()):
                skipped.append(Skipped(f"{speaker}/{name}", "there is a text, but no recording"))
        return Scan(utterances, skipped, _0_92 if mic else _0_80)
