"""Benchmarks of speed, each reported with the machine's limit and the numerical error."""

from scripts.benchmarks.data import benchmark_data
from scripts.benchmarks.generation import benchmark_generation

__all__ = ["benchmark_data", "benchmark_generation"]
