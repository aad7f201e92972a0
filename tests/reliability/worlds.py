"""Segments that a run takes twice or leaves out when it resumes with other processes, batches or accumulation.

    python -m tests.reliability.worlds [--steps 50]

The data loaders of every process run one after the other, with the state that a checkpoint keeps.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from scripts.benchmarks.table import header, line_of
from tests.data.ramps import ramps
from tests.training.test_data_module import segments_of

CHANGES = {  # processes, segments per batch, batches per step, before and after
    "4 -> 2 processes": ((4, 2, 1), (2, 2, 1)),
    "2 -> 4 processes": ((2, 2, 1), (4, 2, 1)),
    "batches of 2 -> 5": ((2, 2, 1), (2, 5, 1)),
    "accumulation 1 -> 3": ((2, 2, 1), (2, 2, 3)),
}
COLUMNS = {"resumed": 19, "segments": 8, "repeated": 8, "skipped": 7}


def main() -> int:
    """Print the table; the exit code is 1 if a segment was repeated or skipped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=50, help="before and after the change")
    steps = parser.parse_args().steps
    print(header(COLUMNS))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        corpus = ramps(Path(folder))
        for name, (before, after) in CHANGES.items():
            first, state = segments_of(corpus, steps, *before)
            second, _ = segments_of(corpus, steps, *after, state, step=steps)
            taken = Counter(first + second)
            repeated, skipped = sum(taken.values()) - len(taken), max(taken) + 1 - len(taken)
            failed = failed or bool(repeated or skipped)
            print(line_of([name, str(sum(taken.values())), str(repeated), str(skipped)], COLUMNS))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
