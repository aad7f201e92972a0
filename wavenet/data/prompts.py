"""Dataset of the corpus included in this package."""

import os
import re
from pathlib import Path

from wavenet.data.dataset import Scan, Skipped, Utterance, why_missing
from wavenet.data.index_csv import INDEX, read_index
from wavenet.data.origin import UNKNOWN, Licence, Origin, each_once
from wavenet.package_data import package_folder


class Prompts:
    """Ten minutes of studio speech, 16 kHz: telephone prompts in four voices and four languages.

    Speakers are allison (en-US), carlo (it), ivrvoice (ru) and june (fr-CA); the files' origin and
    licences (CC-BY-SA-3.0 and CC-BY-3.0) are in index.csv and LICENSE.txt beside them.

    Args:
        root: The folder of index.csv; None takes the included corpus.
    """

    name = "prompts"

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root) if root is not None else package_folder("data/prompts")

    def scan(self) -> Scan:
        """Read the index.

        Raises:
            DatasetError: If the index is missing or malformed.
        """
        utterances, skipped, licences = [], [], []
        attributions = self._attributions()
        for name, columns in read_index(self.root / INDEX).items():
            missing = why_missing(self.root / name)
            if missing is None:
                conditions = {key: columns[key] for key in ("speaker", "language", "gender") if key in columns}
                utterances.append(Utterance(name.removesuffix(".flac"), self.root / name, conditions))
                attribution = attributions.get(columns.get("speaker", ""), "")
                licences.append(Licence(columns.get("licence", UNKNOWN), attribution))
            else:
                skipped.append(Skipped(name, f"is in {INDEX}, but {missing}"))
        return Scan(utterances, skipped, Origin(each_once(licences)))

    def _attributions(self) -> dict[str, str]:
        """Return the attribution of each speaker: the entries of LICENSE.txt, each of which ends in the licence."""
        try:
            text = (self.root / "LICENSE.txt").read_text(encoding="utf-8")
        except (OSError, UnicodeError):
            return {}
        entries = re.findall(r"^(\w+) +(\(c\).*\n(?: +.*\n)*)", text, re.MULTILINE)
        return {name: f"Asterisk core sounds, {name}: {' '.join(entry.split()[:-1])}" for name, entry in entries}
