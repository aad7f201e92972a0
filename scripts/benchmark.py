"""Measure speed, and how well a vocoder follows its mel: benchmark.py generation, training, data or vocoder."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout: benchmarks are not part of the installed package
    from scripts.benchmarks.command import main

    main()
