"""Run the code of the tutorial, which writes figures and a WAV file: python scripts/tutorial.py [FOLDER]."""

import os
import re
import sys
from pathlib import Path

TUTORIAL = Path(__file__).resolve().parents[1] / "data" / "tutorial" / "from-conv1d-to-wavenet.md"


def main() -> None:
    """Run the tutorial's Python code as one program, in a folder; line numbers are kept for tracebacks."""
    text = TUTORIAL.read_text(encoding="utf-8")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    lines, kept = text.splitlines(), [""] * text.count("\n")
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        first = text.count("\n", 0, block.start(1))
        last = text.count("\n", 0, block.end(1))
        kept[first:last] = lines[first:last]
    exec(compile("\n".join(kept), str(TUTORIAL), "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
