"""Measure speed, beside the error and the machine's limit: python scripts/benchmark.py generation."""

import argparse
from pathlib import Path

from wavenet.benchmark import benchmark_generation
from wavenet.benchmark.generation import HEADER, SHAPES, compile_seconds, line, machine, same_samples, write_json


def main() -> None:
    """Print a table while it grows, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["generation"])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each line; the median counts")
    parser.add_argument("--batch", type=int, default=32, help="utterances in the lines with many")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a measurement")
    parser.add_argument("--samples", type=int, default=16000, help="drawn by both backends and compared")
    parser.add_argument("--output", type=Path, default=Path("benchmark.json"))
    asked = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(HEADER)
    rows = benchmark_generation(
        asked.shapes, asked.rounds, asked.batch, asked.seconds, lambda row: print(line(row), flush=True)
    )
    cached = compile_seconds("float32", fresh=False)
    same = [same_samples(shape, asked.samples) for shape in asked.shapes if shape != "L"]
    print(f"until the first sample of a new process, compiled before: {cached:.1f} s")
    for drawn in same:
        print(f"drawn by both backends: {', '.join(f'{name} {value}' for name, value in drawn.items())}")
    write_json(asked.output, rows, compiled_before_seconds=cached, same_samples=same)
    print(f"written to {asked.output}")


if __name__ == "__main__":
    main()
