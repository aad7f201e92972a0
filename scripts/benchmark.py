"""Measure speed, beside the error and the machine's limit: python scripts/benchmark.py generation|training|data."""

from wavenet.benchmark.command import main

if __name__ == "__main__":
    main()
