"""The corpus that comes with this package."""

import csv
import os
from pathlib import Path

from wavenet.data.dataset import DatasetError, Scan, Skipped, Utterance

_PACKAGE = Path(__file__).parents[1]


class Prompts:
    """Ten minutes of studio speech, 16 kHz: telephone prompts in four voices and four languages.

    Speakers are allison (en-US), carlo (it), ivrvoice (ru) and june (fr-CA); the files' origin and
    licences (CC-BY-SA-3.0 and CC-BY-3.0) are in index.csv and LICENSE.txt beside them.

    Args:
        root: The folder of index.csv; None takes the one that comes with the package.
    """

    name = "prompts"

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        installed, checkout = _PACKAGE / "share" / "prompts", _PACKAGE.parent / "data" / "prompts"
        self.root = Path(root) if root is not None else installed if installed.is_dir() else checkout

    def scan(self) -> Scan:
        """Read the index.

        Raises:
            DatasetError: If the index is missing or is not one.
        """
        index = self.root / "index.csv"
        utterances, skipped = [], []
        try:
            with index.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    name = row["file"]
                    conditions = {"speaker": row["speaker"], "language": row["language"], "gender": row["gender"]}
                    if (self.root / name).is_file():
                        utterances.append(Utterance(name.removesuffix(".flac"), self.root / name, conditions))
                    else:
                        skipped.append(Skipped(name, "is in index.csv, but there is no such file"))
        except (OSError, KeyError, UnicodeDecodeError) as error:
            raise DatasetError(
                f"{index}: not readable as the corpus's index ({error!r}); reinstall the package"
            ) from error
        return Scan(utterances, skipped)
