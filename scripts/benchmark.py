"""Measure speed, and what a vocoder hears: python scripts/benchmark.py generation|training|data|vocoder."""

from wavenet.benchmark.command import main

if __name__ == "__main__":
    main()
